//! What the server has said once is remembered: it costs no further round trip.

use super::*;

impl World {
    /// What was sent since the last time; `replies` are the answer to it.
    fn exchange(&mut self, replies: &[&str]) -> String {
        let mut sent = String::new();
        while let Some(mut chunk) = self.session.take_output() {
            let count = chunk.unsent().len();
            sent.push_str(&String::from_utf8_lossy(chunk.unsent()));
            chunk.advance(count);
            self.session.put_back(chunk, count);
        }
        self.server.replies.extend_from_slice(replies.concat().as_bytes());
        self.receive(usize::MAX);
        sent
    }

    /// Calls a script, of which the connection knows nothing yet.
    fn call(&mut self, script: usize) -> String {
        let mut request = Box::<Request>::default();
        request.reset(Shape::Single);
        request.script_call(&self.scripts[script], &[""; 0][..], &["1"][..], Flags::NONE).expect("accepted");
        self.session.submit(request, script);
        format!("$40\r\n{}\r\n", self.scripts[script].sha_hex())
    }

    fn integer(&mut self) -> Option<i64> {
        let finished = self.session.next_finished().expect("it is over");
        Reply::new(finished.result.expect("a reply")).root().as_i64()
    }
}

const NO_SHA: &str = "0000000000000000000000000000000000000000";

#[test]
fn words_of_a_servers_own_for_a_missing_script_are_asked_about_once() {
    let mut world = World::new(0);
    let loaded = world.call(0);
    world.exchange(&[&loaded, OWN_NOSCRIPT]);
    assert!(world.exchange(&[OWN_NOSCRIPT]).contains(NO_SHA), "the words may be the script's");
    assert!(world.exchange(&[&loaded, ":1\r\n"]).contains("LOAD"));
    assert_eq!(world.integer(), Some(1));
    let loaded = world.call(1);
    world.exchange(&[&loaded, OWN_NOSCRIPT]);
    let sent = world.exchange(&[&loaded, ":2\r\n"]);
    assert!(sent.contains("LOAD") && !sent.contains(NO_SHA), "{sent}");
    assert_eq!(world.integer(), Some(2));
}

#[test]
fn a_script_that_a_server_has_no_memory_to_load_is_sent_along_next() {
    let mut world = World::new(0);
    world.call(0);
    let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    world.exchange(&[oom, NOSCRIPT]);
    let sent = world.exchange(&[":1\r\n"]);
    assert!(sent.contains("\r\nEVAL\r\n") && !sent.contains("LOAD"), "{sent}");
    assert_eq!(world.integer(), Some(1));
}
