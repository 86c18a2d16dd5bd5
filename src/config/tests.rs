//! Tests of the options' setters and of what becomes of options and URL together.

use super::*;
use crate::error::Status;

fn refused<T>(result: Result<T>, word: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{word}: accepted"));
    assert_eq!(error.status(), Status::InvalidOption, "{error}");
    assert!(error.is_not_executed());
    assert!(error.message().contains(word), "{error}");
}

#[test]
fn setters_refuse_what_cannot_work() {
    let mut options = Options::default();
    refused(options.connect_timeout(Duration::ZERO), "connect_timeout");
    refused(options.call_timeout(Duration::MAX), "call_timeout");
    refused(options.silence_timeout(Duration::ZERO), "silence_timeout");
    refused(options.username(""), "username");
    for name in ["", "two words", "new\nline", "naïve", "nul\0"] {
        refused(options.client_name(name), "client_name");
    }
    refused(options.tls_server_name("not a name"), "tls_server_name");
    refused(options.keepalive(Some(Duration::from_millis(999))), "keepalive");
    refused(options.keepalive(Some(Duration::from_secs(32768))), "keepalive");
    refused(options.reconnect_backoff(Duration::ZERO, Duration::from_secs(1)), "reconnect_backoff");
    refused(options.reconnect_backoff(Duration::from_secs(2), Duration::from_secs(1)), "reconnect_backoff");
    refused(options.max_reply_bytes(65535), "max_reply_bytes");
    refused(options.max_reply_depth(7), "max_reply_depth");
    refused(options.max_reply_depth(1025), "max_reply_depth");
    assert_eq!(format!("{options:?}"), format!("{:?}", Options::default()), "a refused value left a trace");
}

#[test]
fn options_reach_the_config() {
    let mut options = Options::default();
    options
        .connect_timeout(Duration::from_millis(1))
        .and_then(|o| o.call_timeout(Duration::from_millis(2)))
        .and_then(|o| o.client_name("billing"))
        .and_then(|o| o.keepalive(None))
        .and_then(|o| o.reconnect_backoff(Duration::from_millis(3), Duration::from_millis(4)))
        .and_then(|o| o.max_reply_bytes(1 << 20))
        .and_then(|o| o.max_reply_depth(9))
        .and_then(|o| o.max_waiting(10))
        .and_then(|o| o.shared_connections(64))
        .unwrap()
        .reconnect_attempts(0)
        .max_in_flight(11)
        .lazy_connect(true);
    let config = Config::new("redis://h", &options).unwrap();
    assert_eq!(config.connect_timeout, Duration::from_millis(1));
    assert_eq!(config.call_timeout, Duration::from_millis(2));
    assert_eq!(config.client_name.as_deref(), Some("billing"));
    assert_eq!(config.keepalive, None);
    assert_eq!(config.reconnect.backoff_min, Duration::from_millis(3));
    assert_eq!(config.reconnect.backoff_max, Duration::from_millis(4));
    assert_eq!(config.reconnect.attempts, 0);
    assert_eq!((config.limits.max_bytes, config.limits.max_depth), (1 << 20, 9));
    assert_eq!((config.max_waiting, config.max_in_flight), (10, 11));
    assert_eq!(config.shared_connections, 64);
    assert!(options.max_waiting(0).is_err());
    assert!(options.shared_connections(0).is_err() && options.shared_connections(65).is_err());
    assert!(config.lazy_connect);
}

#[test]
fn user_and_password_of_the_options_win() {
    let mut options = Options::default();
    options.username("ann").unwrap().password("from options");
    let config = Config::new("redis://bob:from-url@h", &options).unwrap();
    assert_eq!(config.username.as_deref(), Some("ann"));
    assert_eq!(config.password.as_ref().map(Secret::expose), Some(&b"from options"[..]));

    let mut options = Options::default();
    options.password(&b"\xff\0"[..]);
    let config = Config::new("redis://bob@h", &options).unwrap();
    assert_eq!(config.username.as_deref(), Some("bob"));
    assert_eq!(config.password.as_ref().map(Secret::expose), Some(&b"\xff\0"[..]));
}

#[test]
fn a_user_needs_a_password() {
    refused(Config::new("redis://bob@h", &Options::default()), "username");
    let config = Config::new("redis://bob:@h", &Options::default()).unwrap();
    assert_eq!(config.password.as_ref().map(Secret::expose), Some(&b""[..]));
}

#[test]
fn the_silence_timeout_is_the_option_or_the_urls_or_half_a_second() {
    let mut options = Options::default();
    let of = |url, options: &Options| Config::new(url, options).unwrap().silence_timeout;
    let url = "redis://h?silence_timeout_ms=70";
    assert_eq!(of("redis://h", &options), Duration::from_millis(500));
    assert_eq!(of(url, &options), Duration::from_millis(70));
    options.silence_timeout(Duration::from_millis(80)).unwrap();
    assert_eq!(of(url, &options), Duration::from_millis(80));
}

#[test]
fn the_protocol_option_wins_unless_auto() {
    let mut options = Options::default();
    assert_eq!(Config::new("redis://h", &options).unwrap().protocol, Protocol::Auto);
    assert_eq!(Config::new("redis://h?protocol=2", &options).unwrap().protocol, Protocol::Resp2);
    options.protocol(Protocol::Resp3);
    assert_eq!(Config::new("redis://h?protocol=2", &options).unwrap().protocol, Protocol::Resp3);
}

#[test]
fn tls_options_need_a_tls_url() {
    type Setter = fn(&mut Options);
    let setters: [(&str, Setter); 8] = [
        ("tls_ca_pem", |o| {
            o.tls_ca_pem("pem");
        }),
        ("tls_client_cert_pem", |o| {
            o.tls_client_cert_pem("pem");
        }),
        ("tls_client_key_pem", |o| {
            o.tls_client_key_pem("pem");
        }),
        ("tls_ca_file", |o| {
            o.tls_ca_file("ca.pem");
        }),
        ("tls_client_cert_file", |o| {
            o.tls_client_cert_file("cert.pem");
        }),
        ("tls_client_key_file", |o| {
            o.tls_client_key_file("key.pem");
        }),
        ("tls_server_name", |o| {
            o.tls_server_name("example.com").unwrap();
        }),
        ("tls_insecure_skip_verify", |o| {
            o.tls_insecure_skip_verify(true);
        }),
    ];
    for (option, set) in setters {
        for url in ["redis://h", "unix:///s"] {
            let mut options = Options::default();
            set(&mut options);
            refused(Config::new(url, &options), option);
        }
    }
}

#[test]
fn no_secret_in_debug_output() {
    let mut options = Options::default();
    options.password("hunter2");
    let config = Config::new("redis://h", &options).unwrap();
    let mut key = Options::default();
    key.tls_client_key_pem("hunter2");
    let shown = format!(
        "{options:?} {config:?} {:?} {key:?}",
        Config::new("redis://:hunter2@h", &Options::default())
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    // A derived Debug of the bytes would show them as numbers.
    assert!(!shown.contains("104, 117"), "{shown}");
    assert_eq!(shown.matches("***").count(), 4, "{shown}");
}
