//! The command line as it is read, and what errors become.

use super::*;
use crate::cli::client::Problem;
use clap::error::ErrorKind;

fn read(line: &str) -> Result<Cli, ErrorKind> {
    // Words as a shell would split them, with single quotes.
    let mut words = vec!["tenure".to_owned()];
    for (place, part) in line.split('\'').enumerate() {
        match place % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    parse(words).map_err(|error| error.kind())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn lines_that_are_right() {
    for line in [
        "dev",
        "dev --listen 127.0.0.1:0 --data /tmp/x --json --idle-after 2 --no-demo",
        "--json dev",
        "dev --database-url postgres://localhost/x",
        "serve --config tenure.toml --listen 0.0.0.0:80",
        "migrate --database-url sqlite:x.db",
        "org create acme --database-url sqlite:x.db",
        "org list",
        "key create --org acme --role manager --name Maya",
        "key list --org acme -q",
        "key create --org acme --role viewer --user ann@acme.test",
        "key rotate-org acme --database-url sqlite:x.db",
        "key rotate-master --config tenure.toml",
        "org delete acme --yes",
        "sandbox --listen 127.0.0.1:0 --json",
        "hire clerk.md --name clerk --dry-run",
        "tell clerk 'chase the late invoices'",
        "tell clerk --payload '{\"a\":1}' --wait --conversation c --idempotency-key k",
        "tell clerk hello --url http://127.0.0.1:1 --key tnk_x",
        "employees -q",
        "runs --employee clerk --status waiting --limit 5",
        "show clerk",
        "approve",
        "approve clerk --deny --comment 'not yet'",
        "cancel 0198f0c4-7b1e-7abc-8def-0123456789ab --reason x",
        "top --once",
        "connect slack",
        "connect gmail --name mine --user ann@acme.test --no-browser --json",
        "connect slack --connection conn_x --timeout 5m --no-wait",
        "connections",
        "connections --integration slack -q",
        "connections show conn_x --json",
        "connections delete conn_x",
        "policies",
        "policies add rule.yaml --json",
        "policies rm no-refunds",
        "policies check gmail.send --input {} --employee clerk --connection default",
        "serve --public-url https://tenure.example",
        "top --every 500ms",
        "doctor --json",
        "doctor --alive --url http://127.0.0.1:7117",
        "cluster ca --out x --name prod --days 90",
        "cluster cert --ca x --node a --host 10.0.0.5 --host a.example --out y --force",
        "cluster ca --out x --if-missing",
        "cluster demo --json --nodes 3 --employees 100",
        "nodes --json",
        "drain node-2",
        "drain node-2 --wait --timeout 30s",
        "rebalance",
        "catalog",
        "catalog --integration slack --risk high --write true",
        "catalog --search 'send mail' --auth oauth2_code -q",
        "catalog lint a.yaml b.yaml",
    ] {
        assert!(read(line).is_ok(), "{line}: {:?}", read(line).err());
    }
}

#[test]
fn lines_that_are_wrong() {
    use ErrorKind::*;
    for (line, kind) in [
        ("", DisplayHelpOnMissingArgumentOrSubcommand),
        ("tel clerk x", InvalidSubcommand),
        ("dev --listen nowhere", ValueValidation),
        ("dev --idle-after 0", ValueValidation),
        ("dev --port 1", UnknownArgument),
        ("tell clerk", MissingRequiredArgument),
        ("tell clerk x --payload 1", ArgumentConflict),
        ("tell clerk --payload {", ValueValidation),
        ("runs --status done", InvalidValue),
        ("runs --limit 0", ValueValidation),
        ("runs --json -q", ArgumentConflict),
        ("approve --deny", MissingRequiredArgument),
        ("cancel clerk", ValueValidation),
        ("connect", MissingRequiredArgument),
        (
            "connect slack --connection conn_x --user ann",
            ArgumentConflict,
        ),
        ("dev --public-url here", ValueValidation),
        ("key create --org a --role boss", ValueValidation),
        ("key revoke clerk --org a", ValueValidation),
        ("org delete acme", MissingRequiredArgument),
        ("cluster ca --out x --if-missing --force", ArgumentConflict),
        ("drain", MissingRequiredArgument),
        ("drain a --timeout 3s", MissingRequiredArgument),
        ("cluster ca --out x --name Prod", ValueValidation),
        ("cluster cert --ca x --node 'a b' --out y", ValueValidation),
        (
            "cluster cert --ca x --node a --out y --days 0",
            ValueValidation,
        ),
        ("catalog lint", MissingRequiredArgument),
        ("catalog --risk none", InvalidValue),
    ] {
        assert_eq!(read(line).err(), Some(kind), "{line}");
    }
}

#[test]
fn every_verb_has_help_with_an_example() {
    for verb in Cli::command().get_subcommands_mut() {
        let name = verb.get_name().to_owned();
        if name == "help" {
            continue;
        }
        let help = verb.render_long_help().to_string();
        let example = help.split_once("Example:").map_or("", |(_, rest)| rest);
        assert!(
            example.contains(&format!("tenure {name}")),
            "{name}: {help}"
        );
    }
}

#[test]
fn errors_have_their_exit_codes() {
    let problem = |status: u16| {
        let json = format!(r#"{{"status":{status},"code":"c","title":"t"}}"#);
        let problem: Problem = serde_json::from_str(&json).unwrap();
        anyhow::Error::from(ClientError::Problem(problem.into()))
    };
    let unreachable = ClientError::Unreachable {
        base: "http://x".into(),
        reason: "refused".into(),
    };
    for (error, exit) in [
        (problem(400), Exit::Failed),
        (problem(401), Exit::Refused),
        (problem(403), Exit::Refused),
        (problem(404), Exit::NotFound),
        (problem(409), Exit::Refused),
        (problem(429), Exit::Failed),
        (problem(500), Exit::Failed),
        (problem(503), Exit::Unreachable),
        (unreachable.into(), Exit::Unreachable),
        (exit::Failure::usage("x"), Exit::Usage),
        (
            exit::Failure::not_found("x").context("around it"),
            Exit::NotFound,
        ),
        (anyhow::anyhow!("anything"), Exit::Failed),
    ] {
        assert_eq!(code_of(&error), exit, "{error:?}");
    }
}

#[test]
fn causes_are_told_once() {
    let inner = anyhow::anyhow!("permission denied");
    let error = inner
        .context("cannot write x: permission denied")
        .context("dev");
    assert_eq!(
        in_one_line(&error),
        "dev: cannot write x: permission denied"
    );
}
