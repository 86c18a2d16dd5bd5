//! What the library knows by heart of each command's keys, held against every supported server.

use crate::support;

use std::collections::HashSet;

use support::raw::{Raw, Value};
use support::server::{Binary, Server, all_versions};

/// A line of the file that the unit tests of src/request/keys.rs read as well; its head explains it.
struct Sample {
    line: &'static str,
    outcome: &'static str,
    words: Vec<&'static str>,
    /// Which of the words were in brackets.
    keys: Vec<usize>,
}

impl Sample {
    fn parse(line: &'static str) -> Sample {
        let mut words = line.split(' ');
        let outcome = words.next().expect("split gives one word at least");
        let mut sample = Sample { line, outcome, words: Vec::new(), keys: Vec::new() };
        for (index, word) in words.enumerate() {
            let key = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            sample.keys.extend(key.map(|_| index));
            sample.words.push(key.unwrap_or(if word == "\"\"" { "" } else { word }));
        }
        sample
    }

    /// Its command as COMMAND names it, with and without the first argument as the subcommand.
    fn names(&self) -> [String; 2] {
        let name = self.words[0].to_ascii_lowercase();
        let sub = self.words.get(1).copied().unwrap_or_default().to_ascii_lowercase();
        [format!("{name}|{sub}"), name]
    }
}

fn samples() -> impl Iterator<Item = Sample> {
    let lines = include_str!("../../src/request/keys.samples").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(Sample::parse)
}

/// A command as COMMAND describes it.
struct Command {
    /// In lower case; a subcommand's is `container|subcommand`.
    name: String,
    is_container: bool,
    first_key: i64,
}

/// All commands and subcommands of a server. Redis 6.2 tells no subcommands, so there a container is a plain command.
fn commands_of(raw: &mut Raw) -> Vec<Command> {
    fn add(commands: &mut Vec<Command>, container: Option<&str>, described: &Value) {
        let fields = described.elements();
        let mut name = fields[0].text().to_ascii_lowercase();
        if let Some(container) = container
            && !name.contains('|')
        {
            name = format!("{container}|{name}");
        }
        let subcommands = fields.get(9).map_or(&[][..], Value::elements);
        for sub in subcommands {
            add(commands, Some(&name), sub);
        }
        commands.push(Command {
            name,
            is_container: !subcommands.is_empty(),
            first_key: fields[3].integer(),
        });
    }
    let mut commands = Vec::new();
    for described in raw.ok(&["COMMAND"]).elements() {
        add(&mut commands, None, described);
    }
    commands
}

/// Runs `test` on every version; the last line of its output before a panic is the version.
fn everywhere(test: fn(Binary, &mut Raw, &[Command])) {
    for binary in all_versions() {
        println!("{binary:?}");
        let server = Server::builder().binary(binary).start();
        let mut raw = Raw::connect(&server);
        let commands = commands_of(&mut raw);
        assert!(commands.len() > 200, "COMMAND tells only {}", commands.len());
        test(binary, &mut raw, &commands);
    }
}

/// The command that a sample is of, where the server has it.
fn command_of<'c>(sample: &Sample, commands: &'c [Command]) -> Option<&'c Command> {
    let [sub, name] = sample.names();
    let named = |name: String| commands.iter().find(move |command| command.name == name);
    named(sub).or_else(|| named(name).filter(|command| !command.is_container))
}

#[test]
fn every_command_of_every_server_has_a_sample() {
    everywhere(|binary, _, commands| {
        let known: HashSet<String> = samples().flat_map(|sample| sample.names()).collect();
        let missing: Vec<&str> =
            commands.iter().map(|command| &*command.name).filter(|name| !known.contains(*name)).collect();
        assert!(
            missing.is_empty(),
            "{binary:?} has commands without a sample in src/request/keys.samples: {missing:?}"
        );
    });
}

#[test]
fn servers_find_the_same_keys() {
    everywhere(|binary, raw, commands| {
        for sample in samples() {
            let Some(command) = command_of(&sample, commands) else { continue };
            if sample.words.len() == 1 {
                // Without arguments there are no keys, and GETKEYS wants an argument.
                assert!(sample.keys.is_empty(), "{}", sample.line);
                continue;
            }
            let reply = raw.cmd(&[&["COMMAND", "GETKEYS"], &*sample.words].concat());
            let line = format!("{binary:?}: {}: {reply:?}", sample.line);
            match sample.outcome {
                "keys" => {
                    // In which order a server tells them differs from version to version.
                    let Value::Array(keys) = &reply else { panic!("{line}") };
                    let mut found: Vec<String> = keys.iter().map(Value::text).collect();
                    let mut expected: Vec<&str> =
                        sample.keys.iter().map(|&index| sample.words[index]).collect();
                    found.sort_unstable();
                    expected.sort_unstable();
                    assert_eq!(found, expected, "{line}");
                }
                "anywhere" | "one-server" | "slot" => match &reply {
                    Value::Array(keys) => assert!(keys.is_empty(), "{line}"),
                    // The second is Redis 6.2's for numkeys 0 and for the subcommands without keys.
                    Value::Error(text) => assert!(
                        text == "ERR The command has no key arguments"
                            || text == "ERR Invalid arguments specified for command",
                        "{line}"
                    ),
                    _ => panic!("{line}"),
                },
                _ => {}
            }
            if sample.outcome == "slot" {
                assert_eq!(sample.keys, [usize::try_from(command.first_key).unwrap_or_default()], "{line}");
            }
        }
    });
}

#[test]
fn servers_refuse_what_is_malformed() {
    everywhere(|binary, raw, _| {
        for sample in samples().filter(|sample| sample.outcome == "malformed") {
            let reply = raw.cmd(&sample.words);
            assert!(reply.is_error(), "{binary:?}: {}: {reply:?}", sample.line);
        }
    });
}
