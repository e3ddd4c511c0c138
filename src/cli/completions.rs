//! `quell completions`: what a shell needs to complete quell's commands and flags.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, out};

/// Print the completions of a shell.
///
/// Example: quell completions bash > ~/.local/share/bash-completion/completions/quell
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

pub(crate) fn run(args: &Args) {
    // Gathered first: the generator itself panics where its reader has gone.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "quell", &mut script);
    out::write(&script);
}
