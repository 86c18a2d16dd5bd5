//! Calls that happen once per token: how the token gets into what is sent.

use super::script::{Script, Wrapped};
use super::slots::{self, NO_SLOT};
use super::token::{self, Made, WithToken};
use super::{Flags, Item, KEYS_START, Repeatable, Request, Routing, Shape, Wire};
use crate::error::{Error, Result, Status};
use crate::resp::encode::{Arguments, Buffer, arguments};
use crate::resp::{NoMemory, push};

/// What the items of a request were like before they got a token that they share.
pub(crate) struct Unshared {
    items: Vec<Item>,
    wire: Wire,
    slot: u16,
    made: Option<Made>,
}

impl Request {
    /// A call of a script that runs once per token, or one with a token.
    #[inline(never)]
    pub(super) fn once_call(
        &mut self,
        script: &Script,
        keys: &(impl Arguments + ?Sized),
        args: &(impl Arguments + ?Sized),
        flags: Flags<'_>,
    ) -> Result<()> {
        let makes_token = flags.token.is_none() && !flags.read_only;
        match self.made_for(script) {
            Some(place) if makes_token && keys.count() > 0 => self.next_once(script, place, keys, args),
            _ => self.special_call(script, keys, args, flags),
        }
    }

    /// Where a token was made for this script: what the script has beside others, and its place.
    #[inline(always)]
    fn made_for<'a>(&self, script: &'a Script) -> Option<(&'a Wrapped, u32)> {
        let place = self.made.as_ref()?.script;
        if self.scripts.get(place as usize)?.is(script) { Some((script.wrapped()?, place)) } else { None }
    }

    /// A call with keys of a script that runs once per token, behind another one of it: the other's token serves again,
    /// all but the slot and the count.
    #[inline(always)]
    fn next_once(
        &mut self,
        script: &Script,
        (wrapped, place): (&Wrapped, u32),
        keys: &(impl Arguments + ?Sized),
        args: &(impl Arguments + ?Sized),
    ) -> Result<()> {
        let wire = self.wire.own();
        let start = wire.len();
        let (argc, count) = (4 + keys.count() + args.count(), keys.count() + 1);
        match script.function() {
            Some(function) => wire.head_with_words(argc, function.head(false), count),
            None => wire.head_with(argc, script.evalsha(), count),
        }
        let keys_start = wire.len();
        let (mut written, slot) = self.write_keys(keys);
        let wire = self.wire.own();
        if let (Some(made), Ok(())) = (&mut self.made, &written) {
            made.append_next(wire, wrapped, keys_start, slot);
            written = args.write(wire);
        }
        let end = wire.len();
        let item = Item { end, script: Some(place), read_only: false, reads: false, idempotent: true, slot };
        if written.is_err() || wire.check().is_err() || push(&mut self.items, item).is_err() {
            return self.take_back(start, written);
        }
        Ok(())
    }

    /// A call of a script that runs once per token: with a token, or read-only as one of the script's body.
    #[inline(never)]
    pub(super) fn special_call(
        &mut self,
        script: &Script,
        keys: &(impl Arguments + ?Sized),
        args: &(impl Arguments + ?Sized),
        flags: Flags<'_>,
    ) -> Result<()> {
        match script.wrapped() {
            Some(wrapped) if !flags.read_only => {
                let has_keys = keys.count() > 0;
                let keys = WithToken::new(wrapped, keys, flags.token)?;
                let (others, routing) = (self.repeatable, self.routing);
                if self.shape == Shape::Transaction && !has_keys {
                    // It goes where the others go: see `settle_tokens`.
                    self.routing = Routing::None;
                }
                let called = self.plain_call(script, &keys, args, flags);
                self.routing = routing;
                called?;
                self.note_made(wrapped, flags);
                self.repeatable = others;
                self.join_wait(wrapped.wait);
                Ok(())
            }
            _ if flags.token.is_some() => Err(token::no_token()),
            _ => self.plain_call(script.unwrapped(), keys, args, flags),
        }
    }

    /// Keeps the token that was just made, for items behind it.
    fn note_made(&mut self, wrapped: &Wrapped, flags: Flags<'_>) {
        if self.shape == Shape::Single || flags.token.is_some() {
            return;
        }
        let Some(Item { end, script: Some(script), .. }) = self.items.last().copied() else { return };
        let start = self.start_of(self.items.len() - 1);
        let key = token_key(&self.wire[start..end]);
        self.made = key.and_then(|key| {
            let wire = &self.wire[start..];
            Made::new(&wire[key.start..key.end + 2], script, wrapped)
        });
    }

    /// Gives all items tokens that come from this one, by their numbers, but those that have got one of their own. Gives
    /// what [`Request::unshare_token`] takes.
    pub(crate) fn share_token(&mut self, token: &[u8]) -> Result<Unshared> {
        token::check_token(token)?;
        let refused = |what: String| {
            Error::new(Status::InvalidArgument, format!("a token for all items: {what}; nothing was sent"))
        };
        let indices = 0..self.items.len();
        if let Some(index) = indices.clone().find(|&index| self.repeatable_item(index) == Repeatable::No) {
            let name = self.name_of(index);
            let text =
                format!("item {index} ({name}) would happen again, for it does not run once per token");
            return Err(refused(text).of_item(index));
        }
        if !indices.clone().any(|index| self.is_once(index)) {
            return Err(refused("none of them runs once per token".into()));
        }
        // A transaction has one slot: that of the first item that has keys.
        let first = match self.shape {
            Shape::Transaction => indices.clone().find_map(|index| self.slot_of_keys(index)),
            _ => None,
        };
        let otherwise = first.unwrap_or_else(|| token::slot_of_token(token));
        // The items are as they were until all of it is there.
        let mut items = Vec::new();
        items.try_reserve_exact(indices.len()).map_err(|_| Error::no_memory_to_send())?;
        let mut wire = Buffer::default();
        for index in indices {
            let mut item = self.items[index];
            let old = &self.wire[self.start_of(index)..item.end];
            let slot = self.slot_of_keys(index).unwrap_or(otherwise);
            if self.replace_token(index, old, (slot, token, index), &mut wire) {
                if self.routing != Routing::None {
                    item.slot = slot;
                }
            } else {
                wire.raw(old);
            }
            item.end = wire.len();
            items.push(item);
        }
        wire.check().map_err(|NoMemory| Error::no_memory_to_send())?;
        let before = Unshared {
            items: std::mem::replace(&mut self.items, items),
            wire: std::mem::replace(&mut self.wire, Wire::Own(wire)),
            slot: self.slot,
            made: self.made.take(),
        };
        if self.shape == Shape::Transaction && self.routing != Routing::None {
            self.slot = otherwise;
        }
        Ok(before)
    }

    /// Takes a token back that the items share: what was not accepted under it may come again under another.
    pub(crate) fn unshare_token(&mut self, before: Unshared) {
        let Unshared { items, wire, slot, made } = before;
        (self.items, self.wire, self.slot, self.made) = (items, wire, slot, made);
    }

    /// Puts the tokens of calls without keys into the slot of a transaction that they are part of.
    pub(crate) fn settle_tokens(&mut self) {
        if self.shape != Shape::Transaction || self.routing == Routing::None {
            return;
        }
        for index in 0..self.items.len() {
            let item = self.items[index];
            let Some(script) = item.script.filter(|_| item.slot == NO_SLOT) else { continue };
            let start = self.start_of(index);
            let Some(key) = token_key(&self.wire[start..item.end]) else { continue };
            let Some(wrapped) = self.scripts[script as usize].wrapped() else { continue };
            if self.slot == NO_SLOT {
                self.slot = slots::slot_of(&self.wire[start..][key.clone()]);
            }
            let tag = token::tag_in(wrapped, key);
            self.items[index].slot = self.slot;
            self.wire.own().overwrite(start + tag.start, &token::tag_of(self.slot));
        }
    }

    /// The other way round, for a transaction whose slot was not known before: items may come that have keys.
    pub(crate) fn unsettle_tokens(&mut self) {
        self.slot = NO_SLOT;
        self.items.iter_mut().for_each(|item| item.slot = NO_SLOT);
    }

    /// The slot of the keys that an item has beside its token.
    fn slot_of_keys(&self, index: usize) -> Option<u16> {
        let item = self.items[index];
        if !self.is_once(index) {
            return Some(item.slot).filter(|&slot| slot != NO_SLOT);
        }
        let mut behind = arguments(&self.wire[self.start_of(index)..item.end]).skip(KEYS_START - 1);
        let has_keys = behind.next() != Some(b"1");
        behind.next().filter(|_| has_keys).map(slots::slot_of)
    }

    /// Appends an item with another token; `false`: it is none that gets one.
    fn replace_token(
        &self,
        index: usize,
        old: &[u8],
        shared: (u16, &[u8], usize),
        wire: &mut Buffer,
    ) -> bool {
        let Some(wrapped) = self.script_of(index).and_then(Script::wrapped) else { return false };
        let Some(key) = token_key(old) else { return false };
        let length_line = 3 + itoa::Buffer::new().format(key.len()).len();
        let before = wire.len();
        wire.raw(&old[..key.start - length_line]);
        if token::write_shared(wrapped, &old[key.clone()], shared, wire).is_none() {
            // Where there was no memory for what is in front, there is none for it without a token either.
            if wire.check().is_ok() {
                wire.truncate(before);
            }
            return false;
        }
        wire.raw(&old[key.end + 2..]);
        true
    }
}

/// Where the last key stands in the wire form of a script call.
fn token_key(item: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut behind = arguments(item).skip(KEYS_START - 1);
    let count: usize = str::from_utf8(behind.next()?).ok()?.parse().ok()?;
    let key = behind.nth(count.checked_sub(1)?)?;
    let start = key.as_ptr().addr() - item.as_ptr().addr();
    Some(start..start + key.len())
}
