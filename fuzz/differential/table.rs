//! Prints fuzz/DIFFERENCES.md, once each rule's example has shown that rule and no other.

use super::compare;
use super::peer::Peer;
use super::rules::{RULES, Rule, Way};

pub fn print() {
    let wrong: Vec<String> = RULES.iter().filter_map(shows_another).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    print!("{HEAD}");
    for peer in [Peer::Hiredis, Peer::RedisRs] {
        println!("\n## {}\n", peer.name());
        println!(
            "Push messages and attributes it hands over; we leave them out, for no call is theirs. It\n"
        );
        for rule in RULES.iter().filter(|rule| rule.peer == peer) {
            let we = match rule.way {
                Way::WeRefuse => "we refuse that",
                Way::TheyRefuse => "we take that",
                Way::Values | Way::Shifted => "we do not",
                Way::Early => "we refuse it at its first wrong byte",
            };
            let example = rule.example.escape_ascii().to_string();
            let example = if example.len() > 40 { format!("{}...", &example[..24]) } else { example };
            wrap(&format!("{}; {we}: `{example}`. Why: {}", rule.they, rule.reason));
        }
    }
}

/// An item of a list, in lines that are not too long.
fn wrap(item: &str) {
    let mut line = String::from("-");
    for word in item.split(' ') {
        if line.len() + word.len() >= 118 {
            println!("{line}");
            line = String::from(" ");
        }
        line = line + " " + word;
    }
    println!("{line}");
}

/// Where a rule's example does not show that rule alone.
fn shows_another(rule: &Rule) -> Option<String> {
    let met: Vec<&Rule> = compare(rule.example).into_iter().filter(|met| met.peer == rule.peer).collect();
    let is_alone = matches!(met[..], [only] if std::ptr::eq(only, rule));
    let met: Vec<&str> = met.iter().map(|met| met.they).collect();
    (!is_alone).then(|| format!("{}: {}: its example shows {met:?}", rule.peer.name(), rule.they))
}

const HEAD: &str = "\
# Where decoders differ

<!-- Made by `scripts/fuzz --differences` of fuzz/differential/rules.rs. -->

`scripts/fuzz --differential` gives the same bytes to this library's decoder, hiredis's reader (1.5.0) and the parser of
the crate redis (1.8.1). A difference that none of these rules explains ends it. Each rule's example shows that rule
alone.
";
