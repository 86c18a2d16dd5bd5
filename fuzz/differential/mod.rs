//! Our decoder against hiredis's and redis-rs's on the same bytes. Where they differ, a rule has to say why.

mod hiredis;
pub mod peer;
mod redis_rs;
pub mod rules;
pub mod table;
mod theirs;
mod token;

use rs_script::fuzzing::{Replies, Seen};

use peer::Peer;
use rules::{RULES, Rule, Way};
use theirs::Theirs;
use token::Token;

/// The limits of our decoder and, where they have such, of the others.
pub const MAX_BYTES: usize = 3 * 4096;
pub const MAX_ELEMENTS: usize = MAX_BYTES / 3;
pub const MAX_DEPTH: usize = 32;

/// A difference, for which a rule is looked for.
pub enum Difference<'a> {
    /// We refuse at this token what the other takes, or has not come to an end of.
    WeRefuse(&'a Token, &'a str),
    /// The other does.
    TheyRefuse(&'a Token, &'a str),
    /// Two values at the same place, ours first.
    Values(&'a Seen, &'a Seen),
    /// The other's values are in other places from here on.
    Shifted(&'a Token),
}

/// Compares us with both; gives the rules by which they differ. Panics where there is none.
pub fn compare(input: &[u8]) -> Vec<&'static Rule> {
    let ours = ours(input);
    let mut met = Vec::new();
    for peer in [Peer::Hiredis, Peer::RedisRs] {
        against(&ours, peer, input, &mut met);
    }
    met
}

fn ours(input: &[u8]) -> Replies {
    rs_script::fuzzing::replies(input, MAX_BYTES, MAX_DEPTH)
}

fn against(ours: &Replies, peer: Peer, input: &[u8], met: &mut Vec<&'static Rule>) {
    let mut meet = |difference: Difference<'_>| {
        let rule = RULES.iter().find(|rule| rule.peer == peer && rule.explains(&difference));
        match rule {
            Some(rule) => met.push(rule),
            None => unexplained(peer, input, ours, &difference),
        }
    };
    let theirs = peer.replies(input);
    let start = |index: usize| if index == 0 { 0 } else { ours.ends[index - 1] };
    let both = ours.replies.len().min(theirs.replies.len());
    for index in 0..both {
        let reply = token::last(&input[start(index)..ours.ends[index]]);
        if peer == Peer::Hiredis && reply.has_inner_attribute {
            return meet(Difference::Shifted(&reply));
        }
        values(&ours.replies[index], &theirs.replies[index], &mut meet);
    }
    let from = start(both);
    let rest = token::last(&input[from..]);
    if peer == Peer::Hiredis && rest.has_inner_attribute {
        return meet(Difference::Shifted(&rest));
    }
    let we_refuse = ours.refusal.as_deref().filter(|_| ours.replies.len() == both);
    let they_refuse = theirs.refusal.as_deref().filter(|_| theirs.replies.len() == both);
    if we_refuse.is_none() && they_refuse.is_none() {
        let counts = (ours.replies.len(), theirs.replies.len());
        assert!(
            counts.0 == counts.1,
            "a difference without a rule: {}: {counts:?} replies of {}, and nothing is refused",
            peer.name(),
            input.escape_ascii()
        );
        return;
    }
    // At which token, if at all.
    let at = |why: Option<&str>, refuses: &dyn Fn(&[u8]) -> bool| {
        why.map(|_| {
            let end = shortest(input, from, refuses);
            // With all that there is of it.
            token::nth(&input[from..], token::last(&input[from..end]).index)
        })
    };
    let we = at(we_refuse, &|input| self::ours(input).refusal.is_some());
    let they = at(they_refuse, &|input| peer.replies(input).refusal.is_some());
    match (we, they) {
        (Some(ours), Some(theirs)) if ours.index == theirs.index => {}
        (Some(token), they) if they.as_ref().is_none_or(|theirs| theirs.index > token.index) => {
            // They wait for the end of a line before they look at it.
            let ended = [input, b"\r\n"].concat();
            let waits = rest.index == token.index && !rest.is_line_complete;
            if waits && peer.replies(&ended).refusal.is_some() {
                return met.extend(RULES.iter().find(|rule| rule.peer == peer && rule.way == Way::Early));
            }
            meet(Difference::WeRefuse(&token, we_refuse.unwrap_or_default()));
        }
        (_, Some(token)) => meet(Difference::TheyRefuse(&token, they_refuse.unwrap_or_default())),
        (_, None) => unreachable!("one of them refuses"),
    }
}

/// The end of the shortest beginning that is refused: a decoder that has refused does not change its mind.
fn shortest(input: &[u8], from: usize, refuses: impl Fn(&[u8]) -> bool) -> usize {
    let (mut taken, mut refused) = (from, input.len());
    while refused - taken > 1 {
        let middle = taken + (refused - taken) / 2;
        if refuses(&input[..middle]) {
            refused = middle;
        } else {
            taken = middle;
        }
    }
    refused
}

/// Compares what is the same shape, element by element.
fn values(ours: &Seen, theirs: &Seen, meet: &mut impl FnMut(Difference<'_>)) {
    match (ours, theirs) {
        (Seen::Array(ours), Seen::Array(theirs))
        | (Seen::Set(ours), Seen::Set(theirs))
        | (Seen::Map(ours), Seen::Map(theirs))
            if ours.len() == theirs.len() =>
        {
            for (ours, theirs) in ours.iter().zip(theirs) {
                values(ours, theirs, meet);
            }
        }
        (Seen::Double(our_text, ours), Seen::Double(their_text, theirs)) => {
            let is_same = ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan());
            // Where the text is not kept there is none.
            if !is_same || !(their_text.is_empty() || our_text == their_text) {
                meet(Difference::Values(
                    &Seen::Double(our_text.clone(), *ours),
                    &Seen::Double(their_text.clone(), *theirs),
                ));
            }
        }
        (ours, theirs) if ours == theirs => {}
        (ours, theirs) => meet(Difference::Values(ours, theirs)),
    }
}

fn unexplained(peer: Peer, input: &[u8], ours: &Replies, difference: &Difference<'_>) -> ! {
    let what = match difference {
        Difference::WeRefuse(token, why) => format!("we refuse ({why}) what it takes, at {token:?}"),
        Difference::TheyRefuse(token, why) => format!("it refuses ({why}) what we take, at {token:?}"),
        Difference::Values(ours, theirs) => format!("we have {ours:?}, it has {theirs:?}"),
        Difference::Shifted(token) => format!("its values are in other places, at {token:?}"),
    };
    let Theirs { replies, refusal, .. } = peer.replies(input);
    panic!(
        "a difference without a rule: {}: {what}\ninput: {}\nours: {ours:?}\ntheirs: {replies:?} {refusal:?}",
        peer.name(),
        input.escape_ascii()
    );
}
