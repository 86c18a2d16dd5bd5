//! URLs and options: any text, any numbers.

use std::time::Duration;

use super::source::Source;
use crate::base::times::LONGEST_WAIT;
use crate::config::{Config, Options, Protocol};
use crate::error::{Result, Status};
use crate::request::route::ReadFrom;

/// What a password holds that the fuzzer is to try to get out again.
const SECRET: &str = "s3cret";

/// One option, of those that the source names.
fn set(options: &mut Options, source: &mut Source<'_>) -> Result<()> {
    let which = source.byte();
    let number = u64::from(source.number()) << (source.byte() % 33);
    let count = usize::try_from(number).unwrap_or(usize::MAX);
    let time = Duration::from_millis(number);
    let length = usize::from(source.byte());
    let text = String::from_utf8_lossy(source.bytes(length)).into_owned();
    match which % 22 {
        0 => options.connect_timeout(time)?,
        1 => options.call_timeout(time)?,
        2 => options.silence_timeout(time)?,
        3 => options.username(text)?,
        4 => options.password(text),
        5 => options.client_name(text)?,
        6 => options.protocol([Protocol::Auto, Protocol::Resp2, Protocol::Resp3][count % 3]),
        7 => options.tls_server_name(text)?,
        8 => options.tls_insecure_skip_verify(count % 2 == 1),
        9 => options.keepalive((count % 2 == 1).then_some(time))?,
        10 => options.reconnect_backoff(time, Duration::from_millis(u64::from(source.number())))?,
        11 => options.reconnect_attempts(u32::try_from(number).unwrap_or(u32::MAX)),
        12 => options.max_reply_bytes(number)?,
        13 => options.max_reply_depth(count)?,
        14 => options.max_waiting(count)?,
        15 => options.shared_connections(count)?,
        16 => options.max_in_flight(count),
        17 => options.read_from([ReadFrom::Primary, ReadFrom::PreferReplica, ReadFrom::Replica][count % 3]),
        18 => options.map_address(&text, "127.0.0.1:6379")?,
        19 => options.map_address("announced:6379", &text)?,
        20 => options.sentinel_username(text)?,
        _ => options.sentinel_password(text),
    };
    Ok(())
}

/// The first bytes set options, what is behind them is a URL.
pub fn url(data: &[u8]) {
    let mut source = Source(data);
    let mut options = Options::default();
    for _ in 0..source.byte() % 8 {
        let before = format!("{options:?}");
        if let Err(error) = set(&mut options, &mut source) {
            assert_eq!(error.status(), Status::InvalidOption, "{error}");
            assert_eq!(before, format!("{options:?}"), "changed by what was refused");
        }
    }
    let Ok(url) = std::str::from_utf8(source.0) else { return };
    check(url, &Options::default());
    check(url, &options);
}

fn check(url: &str, options: &Options) {
    match Config::new(url, options) {
        Ok(config) => {
            let Config { connect_timeout, call_timeout, silence_timeout, limits, .. } = &config;
            for time in [connect_timeout, call_timeout, silence_timeout] {
                assert!(!time.is_zero() && *time <= LONGEST_WAIT, "{time:?}");
            }
            assert!(limits.max_depth > 0 && limits.max_bytes > 0);
            assert!(config.max_waiting > 0 && config.shared_connections > 0);
            assert!(config.username.is_none() || config.password.is_some() || config.credentials.is_some());
            assert!(i32::try_from(config.database).is_ok());
            let shown = format!("{config:?}");
            let again = Config::new(url, options).map(|config| format!("{config:?}"));
            assert_eq!(again.ok().as_ref(), Some(&shown), "not the same twice");
            let is_password = |userinfo: &str| {
                userinfo.split_once(':').is_some_and(|(_, password)| password.contains(SECRET))
            };
            let userinfo = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
            if url.matches(SECRET).count() == 1 && userinfo.is_some_and(|(userinfo, _)| is_password(userinfo))
            {
                assert!(!shown.contains(SECRET), "shows the password: {shown}");
            }
        }
        Err(error) => {
            let message = error.to_string();
            let status = error.status();
            assert!(matches!(status, Status::InvalidUrl | Status::InvalidOption | Status::Tls), "{error:?}");
            // The one thing that a message repeats is the name of a parameter.
            let may_name = message.contains("unknown parameter") || message.contains("option ");
            assert!(may_name || !message.contains(SECRET), "{url:?}: {message}");
            assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
        }
    }
}
