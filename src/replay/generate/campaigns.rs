//! Campaigns: the four use cases, three variants each, told step by step with ATT&CK's tactics in a sensible order.
//!
//! Steps share what a correlator must find: mail -> user -> host -> file -> other hosts, at a pace of minutes to a day.
//! A variant may stop early, as attacks do when they fail.

#[allow(clippy::enum_glob_use, reason = "a page of detections reads as a table without the prefix")]
use super::detections::Detection::{self, *};
use super::event::UseCase;
use super::script::Script;
use super::site::{Duty, HostRole};

/// Tells a campaign of `use_case`.
pub(super) fn tell(script: &mut Script<'_>, use_case: UseCase) {
    let variant = script.count(0, 2);
    match (use_case, variant) {
        (UseCase::Phishing, 0) => credential_page(script),
        (UseCase::Phishing, 1) => attachment(script),
        (UseCase::Phishing, _) => consent(script),
        (UseCase::LateralMovement, 0) => through_remote_access(script),
        (UseCase::LateralMovement, 1) => through_a_workstation(script),
        (UseCase::LateralMovement, _) => through_a_server(script),
        (UseCase::CredentialStuffing, 0) => stuffing(script),
        (UseCase::CredentialStuffing, 1) => slow_spray(script),
        (UseCase::CredentialStuffing, _) => portal(script),
        (UseCase::CloudMisconfiguration, 0) => public_bucket(script),
        (UseCase::CloudMisconfiguration, 1) => leaked_key(script),
        (UseCase::CloudMisconfiguration, _) => open_port(script),
    }
    if script.maybe(30) {
        decoy(script);
    }
}

/// Mail to several people, the last of whom falls for it.
fn mail_wave(script: &mut Script<'_>, rule: Detection, low: u64, high: u64) {
    let recipients = script.count(low, high);
    for at in 0..recipients {
        if at > 0 {
            script.someone();
            script.wait(2, 90);
        }
        let (domain, file) = (script.means.domain, script.means.file);
        script.raise_with(rule, |event, _| {
            event.domain = domain;
            event.file = if rule == MailAttachment { file } else { 0 };
        });
        if script.maybe(15) {
            script.raise(MailReported);
        }
    }
    script.wait(60, 2400);
}

fn credential_page(script: &mut Script<'_>) {
    mail_wave(script, MailLink, 2, 14);
    if script.maybe(70) {
        script.raise(ProxyNewDomain);
        script.wait(5, 60);
    }
    script.raise(ProxyCredentialPage);
    script.wait(120, 2400);
    script.raise_one_of(&[IdpRiskyAddress, IdpTravel]);
    script.wait(10, 200);
    script.raise(IdpNewDevice);
    if script.maybe(40) {
        script.wait(30, 300);
        script.raise(IdpMethodAdded);
    }
    script.wait(60, 1800);
    script.raise(MailForwardRule);
    if script.maybe(50) {
        script.wait(300, 3600);
        mail_wave(script, MailLink, 2, 6);
    }
    if script.maybe(40) {
        script.raise(CloudDownload);
    }
}

fn attachment(script: &mut Script<'_>) {
    mail_wave(script, MailAttachment, 1, 8);
    script.raise(EdrOfficeChild);
    script.wait(1, 30);
    script.raise(EdrEncoded);
    script.wait(5, 120);
    script.raise(ProxyDownload);
    if script.maybe(25) {
        return;
    }
    script.wait(30, 600);
    script.raise_one_of(&[EdrRunKey, EdrTask]);
    for _ in 0..script.count(2, 12) {
        script.wait(240, 600);
        script.raise(ProxyBeacon);
    }
    if script.maybe(60) {
        script.raise(EdrDiscovery);
        script.wait(60, 900);
        script.raise(EdrLsass);
    }
}

fn consent(script: &mut Script<'_>) {
    mail_wave(script, MailLink, 1, 4);
    script.raise(IdpConsent);
    script.wait(200, 3600);
    script.raise(MailForwardRule);
    script.wait(200, 3600);
    for _ in 0..script.count(1, 4) {
        script.raise(CloudDownload);
        script.wait(60, 900);
    }
    if script.maybe(50) {
        script.raise(IdpTokenReplay);
    }
}

fn through_remote_access(script: &mut Script<'_>) {
    script.act_as(Duty::Administrator);
    script.raise(IdpRiskyAddress);
    script.wait(60, 900);
    if script.maybe(50) {
        script.raise(IdpFatigue);
    }
    script.go(HostRole::Jump);
    script.raise(EdrRemoteDesktop);
    script.wait(120, 1800);
    script.raise(EdrDiscovery);
    script.wait(60, 1800);
    script.raise(EdrLsass);
    spread(script, 3, 10);
    encrypt(script, 85);
}

fn through_a_workstation(script: &mut Script<'_>) {
    for _ in 0..script.count(1, 5) {
        script.raise(ProxyBeacon);
        script.wait(200, 700);
    }
    script.raise(EdrEncoded);
    script.wait(20, 400);
    script.raise(EdrDiscovery);
    script.wait(60, 1200);
    let controller = script.site.any_host(HostRole::DomainController, &mut script.dice);
    script.raise_at(IdsKerberoast, controller);
    script.wait(300, 3600);
    script.act_as(Duty::Service);
    spread(script, 4, 18);
    encrypt(script, 75);
}

fn through_a_server(script: &mut Script<'_>) {
    script.go(HostRole::Web);
    script.act_as(Duty::Service);
    for _ in 0..script.count(2, 9) {
        script.raise(IdsWebAttack);
        script.wait(2, 120);
    }
    script.wait(300, 5400);
    script.raise(EdrScriptHost);
    script.wait(600, 5400);
    script.raise(EdrTask);
    script.wait(1200, 7200);
    spread(script, 2, 5);
    for _ in 0..script.count(1, 4) {
        script.raise(IdsDnsTunnel);
        script.wait(300, 1800);
    }
    encrypt(script, 30);
}

/// From host to host, by services, WMI or the desktop; each new host may be the next one's start.
fn spread(script: &mut Script<'_>, low: u64, high: u64) {
    for _ in 0..script.count(low, high) {
        script.wait(60, 900);
        let role = script.dice.pick(&[
            HostRole::FileServer,
            HostRole::Workstation,
            HostRole::Workstation,
            HostRole::Database,
        ]);
        let target = script.site.any_host(role, &mut script.dice);
        let way = script.dice.pick(&[EdrRemoteService, EdrRemoteService, EdrRemoteWmi, EdrRemoteDesktop]);
        script.raise_at(way, target);
        if script.maybe(40) {
            script.raise_at(IdsSmb, target);
        }
        if script.maybe(50) {
            script.host = target;
        }
        if script.maybe(20) {
            script.raise(EdrLsass);
        }
    }
}

/// The end of a ransomware case: protection off, copies deleted, files rewritten; in `percent` of cases it gets there.
fn encrypt(script: &mut Script<'_>, percent: u64) {
    if !script.maybe(percent) {
        return;
    }
    script.wait(300, 7200);
    for _ in 0..script.count(2, 8) {
        script.raise(EdrTamper);
        script.wait(2, 60);
        if script.maybe(60) {
            script.raise(EdrBackupStop);
        }
        script.raise(EdrShadowDelete);
        script.wait(5, 120);
        for _ in 0..script.count(1, 3) {
            script.raise(EdrMassRename);
            script.wait(1, 30);
        }
        let role = script.dice.pick(&[HostRole::FileServer, HostRole::Workstation, HostRole::Backup]);
        script.go(role);
    }
}

fn stuffing(script: &mut Script<'_>) {
    let home = script.means.ip;
    for at in 0..script.count(20, 90) {
        script.someone();
        // A handful of neighbouring addresses take turns.
        let ip = home ^ u32::try_from(script.count(0, 3)).unwrap_or(0);
        script.raise_with(IdpFailure, |event, _| event.src = ip);
        if at % 20 == 9 {
            script.raise(IdpManyFailures);
        }
        if script.maybe(6) {
            script.raise(IdpLockout);
        }
        script.wait(1, 25);
    }
    for _ in 0..script.count(0, 3) {
        script.someone();
        taken_over(script);
    }
}

/// What follows when a password was right.
fn taken_over(script: &mut Script<'_>) {
    script.wait(30, 1200);
    script.raise(IdpRiskyAddress);
    script.wait(5, 120);
    script.raise(IdpNewDevice);
    script.wait(60, 1800);
    if script.maybe(50) {
        script.raise(IdpMethodAdded);
    }
    if script.maybe(60) {
        script.raise(MailForwardRule);
        script.wait(60, 1800);
    }
    if script.maybe(40) {
        script.raise(CloudDownload);
    }
}

fn slow_spray(script: &mut Script<'_>) {
    for _ in 0..script.count(8, 25) {
        script.someone();
        script.raise(IdpFailure);
        script.wait(120, 900);
    }
    for _ in 0..script.count(2, 7) {
        script.raise(IdpFatigue);
        script.wait(20, 120);
    }
    script.raise(IdpTokenReplay);
    taken_over(script);
}

fn portal(script: &mut Script<'_>) {
    script.go(HostRole::Web);
    for _ in 0..script.count(3, 15) {
        script.raise(IdsWebAttack);
        script.wait(3, 60);
    }
    let web = script.host;
    for _ in 0..script.count(2, 6) {
        script.raise(IdpManyFailures);
        script.wait(60, 300);
        script.someone();
    }
    taken_over(script);
    script.host = web;
    if script.maybe(50) {
        script.raise(ProxyUpload);
    }
}

/// A resource that the following steps share.
fn on_resource(script: &mut Script<'_>, rule: Detection, resource: u64, outside: bool) {
    let ip = script.means.ip;
    script.raise_with(rule, |event, _| {
        event.resource = resource;
        event.src = if outside { ip } else { 0 };
    });
}

fn public_bucket(script: &mut Script<'_>) {
    script.act_as(Duty::Engineer);
    let bucket = script.dice.bits();
    on_resource(script, CloudPublicBucket, bucket, false);
    script.wait(900, 14_400);
    for _ in 0..script.count(1, 4) {
        on_resource(script, CloudEnumeration, bucket, true);
        script.wait(30, 900);
    }
    for _ in 0..script.count(1, 8) {
        on_resource(script, CloudDownload, bucket, true);
        script.wait(30, 600);
    }
}

fn leaked_key(script: &mut Script<'_>) {
    script.act_as(Duty::Engineer);
    let role = script.dice.bits();
    script.raise(CloudNoFactor);
    script.wait(30, 900);
    for _ in 0..script.count(1, 6) {
        script.raise(CloudEnumeration);
        script.wait(10, 300);
    }
    on_resource(script, CloudKey, role, true);
    script.wait(60, 1800);
    on_resource(script, CloudAdminPolicy, role, true);
    script.wait(60, 900);
    if script.maybe(60) {
        script.raise(CloudAuditOff);
        script.wait(60, 900);
    }
    for _ in 0..script.count(1, 7) {
        on_resource(script, CloudMiner, role, true);
        script.wait(30, 600);
    }
}

fn open_port(script: &mut Script<'_>) {
    script.act_as(Duty::Engineer);
    script.go(HostRole::Web);
    let group = script.dice.bits();
    on_resource(script, CloudOpenPort, group, false);
    script.wait(600, 7200);
    for _ in 0..script.count(4, 30) {
        script.raise(IdsBruteSsh);
        script.wait(2, 90);
    }
    script.wait(60, 1800);
    script.raise(CloudRoleOutside);
    script.wait(60, 900);
    on_resource(script, CloudSnapshot, group, true);
    if script.maybe(50) {
        script.wait(60, 900);
        on_resource(script, CloudDownload, group, true);
    }
}

/// Noise made on purpose, elsewhere, to draw the eye.
fn decoy(script: &mut Script<'_>) {
    for _ in 0..script.count(4, 20) {
        script.go(HostRole::Web);
        script.raise_one_of(&[IdsScan, IdsScan, IdsWebAttack]);
        script.wait(1, 20);
    }
}
