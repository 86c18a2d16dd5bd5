//! A reply: one flat tape over one buffer, owned by whoever has called.

mod note;
mod payload;
mod tape;
mod view;

use std::fmt;

use super::{NoMemory, make_room};
use tape::place;
use view::FORMAT_LEN;

pub(crate) use note::Note;
pub(crate) use payload::Payload;
pub(crate) use tape::Entry;
pub use tape::Kind;
pub use view::{Elements, ReplyRef};

/// The reply to a call, or the replies to a pipeline: one tape, one buffer, freed at once.
///
/// Look into it through [`Reply::root`]; the commonest questions are answered here as well.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// let reply = client.call(&rs_script::Script::new("return {1, {'a', 'b'}}"), (), ())?;
/// assert_eq!(reply.get(1).and_then(|inner| inner.get(0)?.as_str()), Some("a"));
/// assert_eq!(format!("{reply:?}"), r#"Array[1, Array[String("a"), String("b")]]"#);
/// let (number, texts): (u8, Vec<&str>) = reply.to()?;
/// assert_eq!((number, &*texts), (1, &["a", "b"][..]));
/// # Ok(())
/// # }
/// ```
pub struct Reply {
    /// Present until the reply is dropped.
    payload: Option<Box<Payload>>,
}

impl Reply {
    pub(crate) fn new(payload: Box<Payload>) -> Self {
        debug_assert!(payload.tape.len() > 1, "a reply has a root");
        Reply { payload: Some(payload) }
    }

    /// A nil of this side's own.
    pub(crate) fn nil(mut payload: Box<Payload>) -> Self {
        payload.start();
        payload.append_nil();
        Reply::new(payload)
    }

    /// The whole reply.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let reply = client.command(("MGET", "a", "b"))?;
    /// assert_eq!(reply.root().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn root(&self) -> ReplyRef<'_> {
        let payload = self.payload();
        ReplyRef::at(payload, payload.root)
    }

    fn payload(&self) -> &Payload {
        self.payload.as_deref().unwrap_or_else(|| unreachable!("only drop takes the payload"))
    }

    /// The tape and its buffer, for the C side to hold; [`Reply::new`] takes them back.
    pub(crate) fn into_payload(mut self) -> Box<Payload> {
        self.payload.take().unwrap_or_else(|| unreachable!("only drop takes the payload"))
    }

    /// What the root is.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert_eq!(client.command("PING")?.kind(), rs_script::Kind::Status);
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind(&self) -> Kind {
        self.root().kind()
    }

    /// See [`ReplyRef::as_i64`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert_eq!(client.command(("INCR", "n"))?.as_i64(), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_i64(&self) -> Option<i64> {
        self.root().as_i64()
    }

    /// See [`ReplyRef::as_bytes`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// client.command(("SET", "k", b"\xff\0"))?;
    /// assert_eq!(client.command(("GET", "k"))?.as_bytes(), Some(&b"\xff\0"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.root().as_bytes()
    }

    /// See [`ReplyRef::as_str`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// assert_eq!(client.command("PING")?.as_str(), Some("PONG"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_str(&self) -> Option<&str> {
        self.root().as_str()
    }

    /// See [`ReplyRef::get`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let reply = client.command(("MGET", "a", "b"))?;
    /// assert!(reply.get(1).is_some_and(|value| value.is_nil()) && reply.get(2).is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, index: usize) -> Option<ReplyRef<'_>> {
        self.root().get(index)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(mut payload) = self.payload.take()
            && let Some(home) = payload.home.take()
        {
            home.give(payload);
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root().fmt(f)
    }
}

impl ReplyRef<'_> {
    /// The same in memory of its own, with what is known of the errors in it.
    pub(crate) fn to_reply(self) -> Result<Reply, NoMemory> {
        let mut payload = Box::<Payload>::default();
        payload.start();
        let (first, entries) = (self.place(), self.entries());
        make_room(&mut payload.tape, entries.len())?;
        for entry in entries {
            let mut copy = Entry { index: place(payload.tape.len()), ..*entry };
            if entry.kind.is_text() {
                // Its format stands in front of a verbatim text.
                let before = if entry.kind == Kind::Verbatim { FORMAT_LEN } else { 0 };
                let text = &self.payload().bytes[entry.start() - before..][..before + entry.len as usize];
                copy.value = payload.add_text(text)? + before as u64;
            }
            payload.tape.push(copy);
        }
        let within = first..first + entries.len();
        let notes = self.payload().notes.iter().filter(|note| within.contains(&note.at));
        payload.notes.extend(notes.map(|note| Note { at: note.at - first + payload.root, ..note.clone() }));
        Ok(Reply::new(payload))
    }
}
