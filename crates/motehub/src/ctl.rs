//! `motehub ctl`: a hub is worked with from a shell, over the HTTP API. Tables for people, `--json` for programs.

mod account;
mod alarm;
mod backup;
mod bring;
mod bulk;
mod camera;
mod capability;
mod certificate;
mod command;
mod connection;
mod customer;
mod dashboard;
mod deployment;
mod device;
mod doctor;
mod find;
mod firmware;
mod flow;
mod gateway;
mod group;
mod import;
mod inbox;
mod line;
mod live;
mod look;
mod metric;
mod node;
mod print;
mod pusher;
mod pyaiot;
mod report;
mod rule;
mod script;
mod shadow;
mod telemetry;
mod token;
mod webhook;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use account::Account;

use crate::api::{Api, Refusal};
use crate::trust;

const EXAMPLES: &str = "\
Make a token once, where the hub runs, and let this machine keep it:
  motehub token add laptop --role engineer --data DIR > motehub.token
  motehub ctl login --hub http://127.0.0.1:8080 < motehub.token

Then:
  motehub ctl doctor
  motehub ctl device add 'Kitchen climate' --dialect nodemcu --external-id 10801001 --tag kitchen
  motehub ctl script push climate.lua --comment 'first try'
  motehub ctl deployment start climate --selector 'tag=kitchen and online' --wait
  motehub ctl flow save climate.json
  motehub ctl flow deploy climate
  motehub ctl command send led --args '{\"on\":true}' --selector 'tag=kitchen' --wait
  motehub ctl shadow set 'Kitchen climate' on=true
  motehub ctl telemetry show 'Kitchen climate' --metric temperature --limit 20
  motehub ctl webhook add ci https://example.org/hook --on 'device_*'
  motehub ctl activity tail
  motehub ctl device list --json

Names may be used instead of ids. Exit status: 0 done, 1 refused or failed, 2 wrong usage.";

/// Which hub, and what to do there.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The hub, an http:// or https:// URL [environment: MOTEHUB_HUB] [default: that of `ctl login`, or
    /// http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", global = true)]
    hub: Option<String>,
    /// A file that holds the API token [default: the environment variable MOTEHUB_TOKEN, or that of `ctl login`]
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Trust this authority (certificates in PEM) and no other, for https [environment: MOTEHUB_CA] [default: the
    /// authorities of this machine]
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// Print the JSON of the API instead of a table
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Subcommand)]
enum Noun {
    /// Devices: list, show, add, import, positions, camera, log, tag, untag, rotate, rollback, lift, delete
    #[command(subcommand)]
    Device(device::Verb),
    /// Groups, which are selectors with a name: list, members, add, set, delete
    #[command(subcommand)]
    Group(group::Verb),
    /// Client certificates of devices: issue, list, revoke, authority
    #[command(subcommand)]
    Certificate(certificate::Verb),
    /// What devices can do: list, describe, delete, assign, unassign
    #[command(subcommand)]
    Capability(capability::Verb),
    /// Unknown devices that knocked: list, accept, refuse, ignore, reopen, delete
    #[command(subcommand)]
    Inbox(inbox::Verb),
    /// Scripts: list, push, show, require
    #[command(subcommand)]
    Script(script::Verb),
    /// Firmware: list, push, show, delete
    #[command(subcommand)]
    Firmware(firmware::Verb),
    /// Dashboards: list, export, import, copy, delete, data, and their public links
    #[command(subcommand)]
    Dashboard(dashboard::Verb),
    /// Flows, whose steps run on boards and on the hub: list, show, save, deploy, stop, placement, dry-run, history
    #[command(subcommand)]
    Flow(flow::Verb),
    /// Rules: list, show, check, save, enable, disable, firings, replay, delete
    #[command(subcommand)]
    Rule(rule::Verb),
    /// Alarms that rules raised: list, acknowledge, clear
    #[command(subcommand)]
    Alarm(alarm::Verb),
    /// Deployments: start, list, show, cancel, retry, rollback
    #[command(subcommand)]
    Deployment(deployment::Verb),
    /// What is desired of devices and what they report: get, set, delete, list, history, diff, restore
    #[command(subcommand)]
    Shadow(shadow::Verb),
    /// Commands: send, list, show, cancel
    #[command(subcommand)]
    Command(command::Verb),
    /// Make the code with which a customer claims a device; the one before it stops
    ClaimCode(customer::ClaimCode),
    /// Which customers have a device: list, revoke, release
    #[command(subcommand)]
    Share(customer::ShareVerb),
    /// Make an invitation with which a person signs up as a customer
    Invite(customer::Reach),
    /// Customers: list
    #[command(subcommand)]
    Customer(customer::Verb),
    /// Gateways on other hosts: list, show, new, set, rotate, revoke, delete
    #[command(subcommand)]
    Gateway(gateway::Verb),
    /// MQTT connections and sessions: list, show, disconnect, forget
    #[command(subcommand)]
    Connection(connection::Verb),
    /// Apps of the Pusher protocol, for web pages and programs: list, add, delete
    #[command(subcommand)]
    PusherApp(pusher::Verb),
    /// Keys of Pyaiot gateways: list, add, revoke
    #[command(subcommand)]
    PyaiotKey(pyaiot::Verb),
    /// What devices measured: show, export, tail
    #[command(subcommand)]
    Telemetry(telemetry::Verb),
    /// Metrics: list, set their units and how long they are kept, reset
    #[command(subcommand)]
    Metric(metric::Verb),
    /// Webhooks, to which changes are posted: list, add, set, ping, deliveries, resend, enable, disable, rotate, delete
    #[command(subcommand)]
    Webhook(webhook::Verb),
    /// What was changed, and by whom: list, tail
    #[command(subcommand)]
    Activity(look::Activity),
    /// Import what another product keeps: mdash, iot-base
    #[command(subcommand)]
    Import(bring::Verb),
    /// API tokens, and access keys for programs that sign as AWS does: list, add, revoke
    #[command(subcommand)]
    Token(token::Verb),
    /// Write everything that the hub keeps to a file here, for `motehub restore`; needs the role admin
    Backup(backup::Options),
    /// The nodes of the hub, and what is wrong between them: list
    #[command(subcommand)]
    Node(node::Verb),
    /// Check that the hub is reached, its clock, disk, listeners and backups, and what is wrong with the fleet
    Doctor,
    /// Keep a token and the hub's address for this user; the token is read from the standard input
    Login,
    /// Forget what `login` kept
    Logout,
}

/// What a command needs.
struct Caller {
    api: Api,
    account: Account,
    json: bool,
}

/// Wrong usage that the parser of the command line cannot see.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Runs a command; says on the standard error what went wrong and what to do.
pub(crate) fn run(options: &Options) -> ExitCode {
    let Err(error) = begin(options) else { return ExitCode::SUCCESS };
    if error.chain().any(|cause| cause.is::<print::ReaderGone>()) {
        return ExitCode::SUCCESS;
    }
    eprintln!("motehub: {}", print::clean(&format!("{error:#}")));
    if error.is::<Usage>() {
        return ExitCode::from(2);
    }
    let advice = match error.downcast_ref::<Refusal>().map(|refusal| refusal.status) {
        Some(401) => {
            "Make a token with `motehub token add NAME --role ROLE --data DIR`, then `motehub ctl login`."
        }
        Some(403) => "`motehub ctl doctor` shows the role of your token; make one with a higher role.",
        Some(429) => "Wait a little and try again.",
        _ if let Some(advice) = trust::advice(&error) => advice,
        _ if error.chain().any(|cause| cause.is::<ureq::Error>()) => {
            "Does the hub run there? Name another with --hub URL or MOTEHUB_HUB."
        }
        _ => return ExitCode::FAILURE,
    };
    eprintln!("{advice}");
    ExitCode::FAILURE
}

fn begin(options: &Options) -> anyhow::Result<()> {
    let caller = || -> anyhow::Result<Caller> {
        let account = Account::find(options)?;
        Ok(Caller { api: account.api()?, account, json: options.json })
    };
    match &options.noun {
        Noun::Device(verb) => device::run(&caller()?, verb),
        Noun::Group(verb) => group::run(&caller()?, verb),
        Noun::Certificate(verb) => certificate::run(&caller()?, verb),
        Noun::Capability(verb) => capability::run(&caller()?, verb),
        Noun::Inbox(verb) => inbox::run(&caller()?, verb),
        Noun::Script(verb) => script::run(&caller()?, verb),
        Noun::Firmware(verb) => firmware::run(&caller()?, verb),
        Noun::Dashboard(verb) => dashboard::run(&caller()?, verb),
        Noun::Flow(verb) => flow::run(&caller()?, verb),
        Noun::Rule(verb) => rule::run(&caller()?, verb),
        Noun::Alarm(verb) => alarm::run(&caller()?, verb),
        Noun::Deployment(verb) => deployment::run(&caller()?, verb),
        Noun::Shadow(verb) => shadow::run(&caller()?, verb),
        Noun::Command(verb) => command::run(&caller()?, verb),
        Noun::ClaimCode(wanted) => customer::claim_code(&caller()?, wanted),
        Noun::Share(verb) => customer::share(&caller()?, verb),
        Noun::Invite(reach) => customer::invite(&caller()?, reach),
        Noun::Customer(verb) => customer::run(&caller()?, verb),
        Noun::Gateway(verb) => gateway::run(&caller()?, verb),
        Noun::Connection(verb) => connection::run(&caller()?, verb),
        Noun::PusherApp(verb) => pusher::run(&caller()?, verb),
        Noun::PyaiotKey(verb) => pyaiot::run(&caller()?, verb),
        Noun::Telemetry(verb) => telemetry::run(&caller()?, verb),
        Noun::Metric(verb) => metric::run(&caller()?, verb),
        Noun::Activity(verb) => look::activity(&caller()?, verb),
        Noun::Import(verb) => bring::run(&caller()?, verb),
        Noun::Token(verb) => token::run(&caller()?, verb),
        Noun::Webhook(verb) => webhook::run(&caller()?, verb),
        Noun::Backup(options) => backup::run(&caller()?, options),
        Noun::Node(verb) => node::run(&caller()?, verb),
        Noun::Doctor => doctor::run(&caller()?),
        Noun::Login => account::login(options),
        Noun::Logout => account::logout(),
    }
}

impl Caller {
    fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.api.call("GET", path, None)
    }

    fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.api.call("POST", path, Some(body))
    }

    /// Prints the answer: as JSON if asked for, else as `people` makes it.
    fn show(&self, answer: &Value, people: impl FnOnce(&Value) -> String) -> anyhow::Result<()> {
        match self.json {
            true => print::out(&format!("{answer:#}\n")),
            false => print::out(&people(answer)),
        }
    }
}
