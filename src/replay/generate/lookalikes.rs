//! Look-alikes and floods: what resembles an attack and is none.
//!
//! A look-alike is wanted or harmless work that raises an attack's detections (benign positive). A flood is one rule gone
//! wild on one host, plain background.

#[allow(clippy::enum_glob_use, reason = "a page of detections reads as a table without the prefix")]
use super::detections::Detection::*;
use super::event::UseCase;
use super::script::Script;
use super::site::{Duty, HostRole};

/// Tells a look-alike of `use_case`.
pub(super) fn tell(script: &mut Script<'_>, use_case: UseCase) {
    let variant = script.count(0, 1);
    match (use_case, variant) {
        (UseCase::Phishing, 0) => exercise(script),
        (UseCase::Phishing, _) => newsletter(script),
        (UseCase::LateralMovement, 0) => red_team(script),
        (UseCase::LateralMovement, _) => rollout(script),
        (UseCase::CredentialStuffing, 0) => rotated_password(script),
        (UseCase::CredentialStuffing, _) => sign_on_outage(script),
        (UseCase::CloudMisconfiguration, 0) => deployment(script),
        (UseCase::CloudMisconfiguration, _) => public_site(script),
    }
}

/// A phishing exercise by the awareness team: many are written to, many report it, some fall for it.
fn exercise(script: &mut Script<'_>) {
    for _ in 0..script.count(8, 40) {
        script.someone();
        script.raise(MailLink);
        script.wait(5, 180);
        if script.maybe(30) {
            script.raise(MailReported);
        }
        if script.maybe(12) {
            script.wait(20, 300);
            script.raise(ProxyCredentialPage);
        }
    }
}

/// A mailing by a partner whose links look odd.
fn newsletter(script: &mut Script<'_>) {
    for _ in 0..script.count(6, 50) {
        script.someone();
        script.raise_one_of(&[MailBulk, MailBulk, MailBulk, MailLink]);
        script.wait(1, 90);
        if script.maybe(10) {
            script.raise(ProxyNewDomain);
        }
    }
}

/// A penetration test: the attack's own steps, from the scanner's host.
fn red_team(script: &mut Script<'_>) {
    script.act_as(Duty::Service);
    script.go(HostRole::Scanner);
    script.raise_usual(EdrDiscovery);
    script.wait(60, 1800);
    for _ in 0..script.count(4, 16) {
        let role = script.dice.pick(&[
            HostRole::FileServer,
            HostRole::Database,
            HostRole::Workstation,
            HostRole::DomainController,
        ]);
        let target = script.site.any_host(role, &mut script.dice);
        let way = script.dice.pick(&[EdrRemoteService, EdrRemoteWmi, IdsSmb, EdrLsass, IdsKerberoast]);
        script.raise_at(way, target);
        script.wait(30, 900);
    }
    if script.maybe(40) {
        script.raise(EdrTamper);
        script.wait(5, 600);
        script.raise(EdrMassRename);
    }
}

/// An administrator rolls out an agent: services everywhere, protection restarted.
fn rollout(script: &mut Script<'_>) {
    script.act_as(Duty::Administrator);
    script.go(HostRole::Jump);
    for _ in 0..script.count(5, 30) {
        let target = script.site.any_host(HostRole::Workstation, &mut script.dice);
        script.raise_at(EdrRemoteService, target);
        script.wait(10, 600);
        if script.maybe(50) {
            script.raise_at(EdrTamper, target);
        }
        if script.maybe(15) {
            script.raise_at(EdrBackupStop, target);
        }
    }
}

/// A service account's password was changed and one server still has the old one.
fn rotated_password(script: &mut Script<'_>) {
    script.act_as(Duty::Service);
    let ip = {
        script.go(HostRole::Database);
        script.site.host(script.host).ip
    };
    for at in 0..script.count(15, 80) {
        script.raise_with(IdpFailure, |event, _| event.src = ip);
        script.wait(10, 240);
        if at % 12 == 11 {
            script.raise_with(IdpLockout, |event, _| event.src = ip);
        }
    }
}

/// The sign-on service hiccups: everybody fails from the office's one address, then gets in.
fn sign_on_outage(script: &mut Script<'_>) {
    let office = script.means.ip;
    for at in 0..script.count(12, 60) {
        script.someone();
        script.raise_with(IdpFailure, |event, _| event.src = office);
        script.wait(2, 120);
        if at % 10 == 7 {
            script.raise_with(IdpManyFailures, |event, _| event.src = office);
        }
        if script.maybe(5) {
            script.raise_with(IdpNewDevice, |event, _| event.src = office);
        }
    }
}

/// Infrastructure rolled out by template: keys, roles and groups within minutes, from the build host.
fn deployment(script: &mut Script<'_>) {
    script.act_as(Duty::Engineer);
    let build = script.site.any_host(HostRole::Build, &mut script.dice);
    let ip = script.site.host(build).ip;
    for _ in 0..script.count(3, 14) {
        let rule =
            script.dice.pick(&[CloudKey, CloudAdminPolicy, CloudOpenPort, CloudEnumeration, CloudSnapshot]);
        script.raise_with(rule, |event, _| event.src = ip);
        script.wait(20, 900);
    }
}

/// A web site's bucket is public because it is a web site's, and people download from it.
fn public_site(script: &mut Script<'_>) {
    script.act_as(Duty::Engineer);
    let bucket = script.dice.bits();
    script.raise_with(CloudPublicBucket, |event, _| event.resource = bucket);
    for _ in 0..script.count(1, 9) {
        script.wait(300, 3600);
        script.raise_with(CloudDownload, |event, dice| {
            event.resource = bucket;
            event.src = super::site::outside(dice.below(900));
        });
    }
}

/// A flood: `count` alerts of one rule on one host, the longer the more.
pub(super) fn flood(script: &mut Script<'_>, count: u64) {
    let (detection, role) = script.dice.pick(&[
        (IdsScan, HostRole::Web),
        (IdsWebAttack, HostRole::Web),
        (IdpFailure, HostRole::DomainController),
        (EdrScriptHost, HostRole::Build),
        (MailSpam, HostRole::Workstation),
        (CloudDrift, HostRole::Database),
    ]);
    script.go(role);
    for _ in 0..count {
        script.raise_usual(detection);
        script.wait(0, 10);
    }
}
