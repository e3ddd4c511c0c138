//! Habits: which rule fires on which kind of host, how often, when and how.

use super::background::HOUR_MS;
#[allow(clippy::enum_glob_use, reason = "a page of detections reads as a table without the prefix")]
use super::detections::Detection::{self, *};
use super::dice::Dice;
use super::site::{Duty, HostRole, Site};
use crate::record::Millis;

/// When in the week a habit is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rhythm {
    /// Machines: day and night.
    Steady,
    /// People: weekdays, from eight to six.
    Office,
    /// A job of two hours that begins at that hour of every night.
    Nightly(u64),
    /// A job of three hours on Sundays.
    Weekly(u64),
}

const OFFICE: [u64; 24] = [
    60, 50, 40, 40, 50, 90, 250, 700, 1500, 2100, 2300, 2200, 1700, 1900, 2200, 2100, 1900, 1500, 900, 500,
    300, 200, 120, 80,
];

impl Rhythm {
    /// How much is done in an hour since Monday's first, in thousandths of the rate.
    pub(super) fn weight(self, hour: u64) -> u64 {
        let (clock, day) = (hour % 24, hour / 24 % 7);
        match self {
            Rhythm::Steady => 950 + 100 * u64::from(clock % 6 == 0),
            Rhythm::Office => {
                let day = if day < 5 { 100 } else { 22 };
                OFFICE[usize::try_from(clock).unwrap_or(0)] * day / 100
            }
            Rhythm::Nightly(from) => 1000 * u64::from((from..from + 2).contains(&clock)),
            Rhythm::Weekly(from) => 1000 * u64::from(day == 6 && (from..from + 3).contains(&clock)),
        }
    }
}

/// How a habit's events lie within an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// By the clock.
    Periodic,
    /// As it comes.
    Scattered,
    /// Within five minutes.
    Burst,
}

/// One rule on one host for one account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    pub(super) rule: Detection,
    pub(super) site: u32,
    pub(super) host: u32,
    pub(super) user: u32,
    /// Thousandths of an event an hour, where the rhythm's weight is 1000.
    pub(super) rate: u64,
    pub(super) rhythm: Rhythm,
    pub(super) style: Style,
    /// Where in the hour a periodic habit begins.
    pub(super) phase: Millis,
}

/// What kind of rhythm a template asks for; hours are thrown for each host.
#[derive(Clone, Copy)]
enum When {
    Steady,
    Office,
    Nightly,
    Weekly,
}

/// Rule, share of hosts that have it in percent, rate from and to (thousandths an hour), when, how.
type Template = (Detection, u64, u64, u64, When, Style);

use Style::{Burst, Periodic, Scattered};
use When::{Nightly, Office, Steady, Weekly};

const WORKSTATION: &[Template] = &[
    (ProxyCategory, 90, 300, 4000, Office, Scattered),
    (ProxyNewDomain, 55, 150, 900, Office, Scattered),
    (MailSpam, 95, 300, 3000, Steady, Scattered),
    (MailBulk, 60, 200, 800, Office, Scattered),
    (MailSpoof, 30, 150, 600, Office, Scattered),
    (MailLink, 14, 150, 500, Office, Scattered),
    (MailReported, 10, 150, 400, Office, Scattered),
    (IdpFailure, 70, 200, 1200, Office, Scattered),
    (IdpNewDevice, 6, 150, 350, Office, Scattered),
    (IdpTravel, 5, 150, 500, Steady, Scattered),
    (EdrUnwanted, 25, 150, 900, Steady, Periodic),
    (EdrRemovable, 15, 150, 500, Office, Scattered),
    (EdrAdminTool, 8, 200, 900, Office, Scattered),
    (EdrRunKey, 6, 200, 700, Steady, Periodic),
    (EdrTask, 5, 200, 900, Steady, Periodic),
    (EdrEncoded, 4, 250, 1500, Steady, Periodic),
    (EdrOfficeChild, 3, 200, 500, Office, Scattered),
    (ProxyBeacon, 6, 1000, 6000, Steady, Periodic),
    (ProxyUpload, 4, 150, 600, Office, Burst),
    (IdsPolicy, 45, 200, 1500, Steady, Scattered),
    (CloudDownload, 3, 150, 400, Office, Burst),
];

const SERVER: &[Template] = &[
    (IdsPolicy, 85, 1000, 9000, Steady, Periodic),
    (EdrScriptHost, 80, 1000, 12_000, Steady, Periodic),
    (IdpFailure, 45, 1000, 8000, Steady, Periodic),
    (EdrTask, 30, 300, 1500, Steady, Periodic),
    (EdrAdminTool, 30, 200, 900, Office, Scattered),
    (IdsDns, 35, 300, 2500, Steady, Scattered),
    (CloudDrift, 40, 500, 5000, Steady, Periodic),
    (EdrBackupStop, 20, 2000, 4000, Nightly, Burst),
    (IdpLockout, 10, 200, 700, Steady, Periodic),
];

/// What a role has beside the templates of its class.
fn special(role: HostRole) -> &'static [Template] {
    match role {
        HostRole::DomainController => &[
            (IdpFailure, 100, 20_000, 60_000, Steady, Scattered),
            (IdpLockout, 100, 1000, 4000, Office, Scattered),
            (IdsKerberoast, 60, 300, 1500, Steady, Periodic),
            (EdrDiscovery, 80, 1000, 5000, Steady, Periodic),
            (EdrLsass, 30, 250, 800, Steady, Periodic),
        ],
        HostRole::Web => &[
            (IdsScan, 100, 20_000, 80_000, Steady, Scattered),
            (IdsWebAttack, 100, 5000, 40_000, Steady, Burst),
            (IdsBruteSsh, 80, 4000, 30_000, Steady, Scattered),
            (IdpManyFailures, 30, 200, 900, Steady, Burst),
        ],
        HostRole::Mail => &[
            (IdsScan, 100, 3000, 15_000, Steady, Scattered),
            (MailSpoof, 100, 5000, 20_000, Steady, Scattered),
            (MailAttachment, 70, 300, 1500, Steady, Scattered),
            (EdrUnwanted, 100, 6000, 12_000, Steady, Periodic),
        ],
        HostRole::FileServer => &[
            (IdsSmb, 80, 500, 4000, Office, Scattered),
            (EdrMassRename, 40, 300, 900, Nightly, Burst),
            (EdrRemovable, 50, 200, 800, Office, Scattered),
        ],
        HostRole::Database => &[
            (IdsDnsTunnel, 50, 400, 2000, Steady, Periodic),
            (CloudSnapshot, 30, 1200, 2500, Nightly, Burst),
        ],
        HostRole::Jump => &[
            (EdrRemoteDesktop, 100, 2000, 9000, Office, Scattered),
            (EdrRemoteService, 90, 600, 4000, Office, Burst),
            (EdrRemoteWmi, 70, 400, 2500, Office, Burst),
            (EdrDiscovery, 90, 600, 3000, Office, Scattered),
            (EdrEncoded, 60, 400, 2000, Steady, Periodic),
        ],
        HostRole::Backup => &[
            (EdrShadowDelete, 90, 2000, 6000, Nightly, Burst),
            (EdrBackupStop, 100, 3000, 9000, Nightly, Burst),
            (IdsSmb, 80, 4000, 20_000, Nightly, Scattered),
            (ProxyUpload, 60, 1000, 4000, Nightly, Scattered),
        ],
        HostRole::Build => &[
            (CloudKey, 80, 300, 2000, Steady, Periodic),
            (CloudAdminPolicy, 40, 250, 900, Office, Scattered),
            (CloudOpenPort, 60, 300, 1200, Office, Scattered),
            (CloudEnumeration, 90, 1000, 6000, Steady, Periodic),
            (ProxyDownload, 90, 500, 3000, Office, Scattered),
            (EdrScriptHost, 100, 8000, 30_000, Steady, Periodic),
        ],
        HostRole::Scanner => &[
            (IdsScan, 100, 60_000, 200_000, Nightly, Scattered),
            (IdsWebAttack, 100, 20_000, 90_000, Weekly, Burst),
            (IdsBruteSsh, 100, 5000, 20_000, Nightly, Burst),
            (IdsSmb, 60, 2000, 9000, Weekly, Scattered),
        ],
        HostRole::Workstation => &[],
    }
}

/// The habits of a site's hosts.
pub(super) fn habits_of(seed: u64, site: &Site) -> impl Iterator<Item = Habit> {
    (0u32..).zip(&site.hosts).flat_map(move |(at, host)| {
        let class = if host.role == HostRole::Workstation { WORKSTATION } else { SERVER };
        let mut dice = Dice::of(&[seed, 0xa6, u64::from(site.index), u64::from(at)]);
        let user = site.user_of(at, &mut dice);
        // Someone who works odd hours, travels or develops makes for a louder host.
        let loud = 1 + u64::from(dice.chance(60_000)) * 7;
        let cloud = site.any_user(Duty::Engineer, &mut dice);
        class.iter().chain(special(host.role)).filter_map(move |template| {
            habit(template, site.index, at, loud, &mut dice).map(|mut habit| {
                let in_cloud =
                    matches!(habit.rule, CloudDrift | CloudKey | CloudAdminPolicy | CloudEnumeration);
                habit.user = if in_cloud { cloud } else { user };
                habit
            })
        })
    })
}

fn habit(template: &Template, site: u32, host: u32, loud: u64, dice: &mut Dice) -> Option<Habit> {
    let (rule, percent, low, high, when, style) = *template;
    if !dice.chance(percent * 10_000) {
        return None;
    }
    // The lesser of two throws: most are near the low end, a few are far up.
    let rate = dice.between(low, high).min(dice.between(low, high)) * loud;
    let rhythm = match when {
        When::Steady => Rhythm::Steady,
        When::Office => Rhythm::Office,
        When::Nightly => Rhythm::Nightly(dice.between(0, 4)),
        When::Weekly => Rhythm::Weekly(dice.between(1, 5)),
    };
    Some(Habit { rule, site, host, user: 0, rate, rhythm, style, phase: dice.span(0, HOUR_MS - 1) })
}
