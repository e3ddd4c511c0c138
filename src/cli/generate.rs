//! `quell generate`: labelled synthetic SOC days.

use std::path::PathBuf;

use super::report::{Progress, group};
use super::{Failure, Output};
use crate::replay::generate::{GenerateError, Settings, Summary, generate};

/// Generate labelled synthetic SOC days: background, campaigns of four use cases, and what only looks like them.
///
/// The folder gets alerts.jsonl (OCSF Detection Findings in order of arrival), truth.jsonl, environment.json (for the
/// simulated executor), assets.csv, identities.csv, indicators.csv and manifest.json. Equal settings give equal bytes.
///
/// Example: quell generate --alerts 20000 --seed 42 --hosts 40 --users 60 --out soc-day
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Alerts, duplicates included.
    #[arg(long)]
    alerts: u64,
    /// Another seed, other days.
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
    /// A folder that is empty or not there yet.
    #[arg(long)]
    out: PathBuf,
    /// Sites, each with hosts, accounts and habits of its own.
    #[arg(long, default_value_t = Settings::default().tenants)]
    tenants: u32,
    /// Hosts of a site.
    #[arg(long, default_value_t = Settings::default().hosts)]
    hosts: u32,
    /// Accounts of a site.
    #[arg(long, default_value_t = Settings::default().users)]
    users: u32,
    /// Days; as many as give 250 alerts a day for each host, 3 at least, where it is not given.
    #[arg(long)]
    days: Option<u32>,
    /// Campaigns; one for 5,000 alerts where it is not given. The same campaigns over more alerts: more noise.
    #[arg(long)]
    campaigns: Option<u32>,
    /// The share of alerts that come late, 0 to 1.
    #[arg(long, default_value_t = Settings::default().late_share)]
    late_share: f64,
    /// The share of lines that are an earlier alert again, 0 to 0.5.
    #[arg(long, default_value_t = Settings::default().duplicate_share)]
    duplicate_share: f64,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let settings = Settings {
        alerts: args.alerts,
        seed: args.seed,
        tenants: args.tenants,
        hosts: args.hosts,
        users: args.users,
        days: args.days,
        campaigns: args.campaigns,
        late_share: args.late_share,
        duplicate_share: args.duplicate_share,
        ..Settings::default()
    };
    let progress = Progress::start(args.alerts);
    progress.phase("writing", args.alerts);
    let made = generate(&settings, &args.out, |written| progress.at(written));
    progress.finish();
    let summary = made.map_err(|error| match error {
        GenerateError::Setting { setting, range } => {
            Failure::Usage(format!("--{} must be {range}", setting.replace('_', "-")))
        }
        error @ (GenerateError::NotEmpty { .. } | GenerateError::Io { .. }) => error.into(),
    })?;
    let made: u64 = summary.use_cases.values().map(|n| n.campaigns).sum();
    if let Some(wanted) = args.campaigns.map(u64::from).filter(|wanted| *wanted > made) {
        eprintln!(
            "quell: there was room for {made} of {wanted} campaigns: they and what looks like them are 30 % of the alerts at most; \
             give more --alerts, or more --days where campaigns would end after the last"
        );
    }
    match args.output {
        Output::Json => say!("{}", serde_json::to_string(&summary)?),
        Output::Text => tell(&summary, args),
    }
    Ok(())
}

fn tell(summary: &Summary, args: &Args) {
    say!(
        "{} alerts of {} days in {}: {} background, {} in floods, {} late, {} duplicates",
        group(summary.alerts),
        group(summary.days),
        args.out.display(),
        group(summary.background),
        group(summary.floods),
        group(summary.late),
        group(summary.duplicates)
    );
    for (name, n) in &summary.use_cases {
        say!(
            "  {name}: {} attacks with {} alerts, {} look-alikes with {}",
            n.campaigns,
            group(n.campaign_alerts),
            n.look_alikes,
            group(n.look_alike_alerts)
        );
    }
    say!("Next: quell replay --input {}/alerts.jsonl --archive archive", args.out.display());
}
