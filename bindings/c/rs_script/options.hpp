// rs::Options: what to open clients with.

#ifndef RS_SCRIPT_OPTIONS_HPP
#define RS_SCRIPT_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <rs_script/detail.hpp>
#include <rs_script/error.hpp>

namespace rs {

// Something that has happened to a client's connections; see Options::log. Its texts are borrowed until the callback
// returns.
struct Event {
    std::int32_t kind;   // RS_EVENT_...
    std::int32_t level;  // RS_LOG_LEVEL_...
    rs_status status;    // of the error behind it, or RS_OK
    std::int32_t reason; // RS_REASON_..., or 0
    std::optional<std::string_view> node;
    std::string_view message;
};

// A call that has ended; see Options::on_call. Its texts are borrowed until the callback returns.
struct CallEvent {
    std::int32_t kind; // RS_CALL_KIND_...
    rs_status status;
    std::int32_t reason; // RS_REASON_..., or 0
    std::size_t attempts;
    std::size_t items;
    std::string_view name;                // of a script its name or SHA1, of a command its first word
    std::optional<std::string_view> sha;  // of a script
    std::optional<std::string_view> node; // the server that it was sent to last
    std::uint64_t bytes_sent, bytes_received;
    std::chrono::nanoseconds duration;
};

// User and password, as Options::credentials gives them.
struct Credentials {
    std::string password;
    // None: the user `default`.
    std::optional<std::string> username = std::nullopt;
    // How long they are good for; open connections ask again when three quarters of it are over. None: for as
    // long as a connection lives.
    std::optional<std::chrono::milliseconds> lifetime = std::nullopt;
};

namespace detail {

// Answers a request, which is not live afterwards. What is wrong with the credentials becomes the error of the
// connection, too.
inline rs_status give(rs_credentials_request *request, const Credentials &credentials, rs_error **error) noexcept {
    if (credentials.username && has_nul(*credentials.username)) {
        rs_credentials_refuse(request, "the user name holds a NUL");
        return RS_ERR_INVALID_ARGUMENT;
    }
    const char *const username = credentials.username ? credentials.username->c_str() : nullptr;
    // To the C library 0 is for ever: what is over is over in a moment.
    const std::int64_t left = credentials.lifetime ? credentials.lifetime->count() : 0;
    const std::int64_t lifetime = credentials.lifetime && left < 1 ? 1 : left;
    return rs_credentials_answer(request, username, credentials.password.data(), credentials.password.size(),
                                 static_cast<std::uint64_t>(lifetime), error);
}

template <class Ask> void answer(rs_credentials_request *request, Ask &ask) noexcept {
    const auto given = [&] {
        Credentials credentials = ask(std::string_view(rs_credentials_node(request)));
        give(request, credentials, nullptr);
        Secret::overwrite(credentials.password);
    };
#if defined(__cpp_exceptions)
    try {
        given();
    } catch (const std::exception &thrown) {
        rs_credentials_refuse(request, thrown.what());
    } catch (...) {
        rs_credentials_refuse(request, "it threw something");
    }
#else
    given();
#endif
}

} // namespace detail

class Events;

// What to open clients with. A builder: every function sets the option of rs_script.h that bears its name, and returns
// the builder. A value that cannot be used is remembered: opening a client with these options fails with that error.
class Options {
public:
    // Every default.
    Options() : handle_(rs_options_new()) {
        if (!handle_) detail::raise(std::bad_alloc());
    }

    // How long one attempt to connect may take; above 0; default 5 s.
    Options &connect_timeout(std::chrono::milliseconds timeout) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_connect_timeout_ms, positive(timeout));
    }

    // How long a call may take, all its attempts together; above 0; default 10 s.
    Options &call_timeout(std::chrono::milliseconds timeout) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_call_timeout_ms, positive(timeout));
    }

    // When a connection is taken for dead that nobody has ended: once a call has missed its deadline on it, and calls
    // were waiting on it for so long without a single byte coming. Above 0; wins over the URL's silence_timeout_ms;
    // default 500 ms.
    Options &silence_timeout(std::chrono::milliseconds timeout) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_silence_timeout_ms, positive(timeout));
    }

    // The ACL user; wins over the URL's.
    Options &username(std::string_view username) RS_SCRIPT_LIFETIMEBOUND {
        return set_texts(rs_options_set_username, username);
    }

    // The password; wins over the URL's.
    Options &password(std::string_view password) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_password, password.data(), password.size());
    }

    // The name in CLIENT LIST; printable ASCII without spaces.
    Options &client_name(std::string_view name) RS_SCRIPT_LIFETIMEBOUND {
        return set_texts(rs_options_set_client_name, name);
    }

    // One of the RS_PROTOCOL_ numbers.
    Options &protocol(std::int32_t protocol) RS_SCRIPT_LIFETIMEBOUND { return set(rs_options_set_protocol, protocol); }

    // A PEM file of the authorities to trust instead of the system's.
    Options &tls_ca_file(std::string_view path) RS_SCRIPT_LIFETIMEBOUND {
        return set_texts(rs_options_set_tls_ca_file, path);
    }

    // PEM files of the client certificate, its chain included, and of its key.
    Options &tls_client_cert(std::string_view cert_path, std::string_view key_path) RS_SCRIPT_LIFETIMEBOUND {
        return set_texts(rs_options_set_tls_client_cert, cert_path, key_path);
    }

    // The authorities to trust instead of the system's, in PEM form.
    Options &tls_ca_pem(std::string_view pem) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_tls_ca_pem, pem.data(), pem.size());
    }

    // The client certificate, its chain included, and its key, in PEM form.
    Options &tls_client_cert_pem(std::string_view cert, std::string_view key) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_tls_client_cert_pem, cert.data(), cert.size(), key.data(), key.size());
    }

    // The host name or address that the server's certificate must hold, instead of the URL's host.
    Options &tls_server_name(std::string_view name) RS_SCRIPT_LIFETIMEBOUND {
        return set_texts(rs_options_set_tls_server_name, name);
    }

    // True: accept any certificate. Anybody on the network path can read and change everything then.
    Options &tls_insecure_skip_verify(bool skip) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_tls_insecure_skip_verify, skip);
    }

    // TCP keep-alive: the first probe after so much silence, up to 32767 s, rounded up to whole seconds; 0: none;
    // default 60 s.
    Options &keepalive(std::chrono::milliseconds idle) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_keepalive_ms, static_cast<std::uint64_t>(idle.count()));
    }

    // The pause before the second attempt to connect, and the longest pause; default 20 ms and 1 s.
    Options &reconnect_backoff(std::chrono::milliseconds min, std::chrono::milliseconds max) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_reconnect_backoff_ms, positive(min), positive(max));
    }

    // After how many failed attempts to connect a call gives up; 0: not before its deadline; default 5.
    Options &reconnect_attempts(std::size_t attempts) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_reconnect_attempts, attempts);
    }

    // The longest reply, in bytes on the wire; at least 65536; default 513 MiB.
    Options &max_reply_bytes(std::size_t bytes) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_max_reply_bytes, bytes);
    }

    // How deep arrays, maps and sets of a reply may be nested, 8 to 1024; default 128.
    Options &max_reply_depth(std::size_t depth) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_max_reply_depth, depth);
    }

    // How many commands may wait on servers at a time (BLPOP, XREAD BLOCK, ...), 1 at least: each has a connection of
    // its own. More stand in line; default 1000.
    Options &max_waiting(std::size_t count) RS_SCRIPT_LIFETIMEBOUND { return set(rs_options_set_max_waiting, count); }

    // How many connections to each server calls share, 1 to 64: what takes long on one holds up no calls on the others.
    // Default 1.
    Options &shared_connections(std::size_t count) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_shared_connections, count);
    }

    // How many blocking calls may be in flight at a time, of all threads together; 0: any number, the default. One
    // more ends at once with RS_ERR_QUEUE_FULL.
    Options &max_in_flight(std::size_t calls) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_max_in_flight, calls);
    }

    // True: opening does not connect, the first call does.
    Options &lazy_connect(bool lazy) RS_SCRIPT_LIFETIMEBOUND { return set(rs_options_set_lazy_connect, lazy); }

    // False: no connection tells the server by CLIENT SETINFO which library this is.
    Options &client_info(bool tell) RS_SCRIPT_LIFETIMEBOUND { return set(rs_options_set_client_info, tell); }

    // False: no connection runs an empty transaction with its login; the first transaction on it costs a round trip
    // more instead.
    Options &probe_transactions(bool probe) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_probe_transactions, probe);
    }

    // Which servers run read-only calls: one of the RS_READ_FROM_ numbers; default RS_READ_FROM_PRIMARY.
    Options &read_from(std::int32_t read_from) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_read_from, read_from);
    }

    // Connect to `reachable` wherever the servers themselves speak of `announced`; each is `host:port`. Once for each
    // address.
    Options &map_address(std::string_view announced, std::string_view reachable) RS_SCRIPT_LIFETIMEBOUND {
        return set_texts(rs_options_map_address, announced, reachable);
    }

    // The user to authenticate as with the sentinels; needs sentinel_password.
    Options &sentinel_username(std::string_view username) RS_SCRIPT_LIFETIMEBOUND {
        return set_texts(rs_options_set_sentinel_username, username);
    }

    // The password for the sentinels; the one in the URL is for the servers alone.
    Options &sentinel_password(std::string_view password) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_sentinel_password, password.data(), password.size());
    }

    // Be told of connections made, lost and refused: `log(const Event &)`. It is moved in and destroyed when neither
    // these options nor a client of theirs needs it. It is called on any thread, perhaps on several at once; it must
    // not block, call the client or throw (std::terminate).
    template <class Log> Options &log(Log log) RS_SCRIPT_LIFETIMEBOUND {
        auto call = [](void *context, const rs_event *event) noexcept {
            std::optional<std::string_view> node;
            if (event->node) node = std::string_view(event->node, event->node_len);
            (*static_cast<Log *>(context))(Event{event->kind, event->level, event->status, event->reason, node,
                                                 std::string_view(event->message, event->message_len)});
        };
        auto free = [](void *context) noexcept { delete static_cast<Log *>(context); };
        return set(rs_options_set_log, +call, static_cast<void *>(new Log(std::move(log))), +free);
    }

    // Ask for user and password whenever a connection to a server is made, and again when they are due or
    // Client::reauthenticate says so: `Credentials ask(std::string_view node)`. It is moved in and destroyed when
    // neither these options nor a client of theirs needs it. It is called on threads of its own, perhaps on several at
    // once, and may block. What it throws is why there are none: the attempt to connect fails with RS_ERR_AUTH and the
    // exception's what(). See rs_options_set_credentials.
    template <class Ask> Options &credentials(Ask ask) RS_SCRIPT_LIFETIMEBOUND {
        auto call = [](void *context, rs_credentials_request *request) noexcept {
            detail::answer(request, *static_cast<Ask *>(context));
        };
        auto free = [](void *context) noexcept { delete static_cast<Ask *>(context); };
        return set(rs_options_set_credentials, +call, static_cast<void *>(new Ask(std::move(ask))), +free);
    }

    // Keep what `log` would be told there, until it is fetched; in its place. `events` may be destroyed before.
    Options &events(const Events &events) RS_SCRIPT_LIFETIMEBOUND;

    // Ask for credentials there, in place of a function: Events::take_credentials takes the requests out. Where
    // `events` is destroyed before, no connection gets any.
    Options &credentials_events(const Events &events) RS_SCRIPT_LIFETIMEBOUND;

    // Be told of each call that has ended: `call(const CallEvent &)`, on the thread that completes it. It is moved in
    // and destroyed when neither these options nor a client of theirs needs it. It must be quick; it must not block,
    // call or free the client or throw (std::terminate).
    template <class Call> Options &on_call(Call call) RS_SCRIPT_LIFETIMEBOUND {
        auto told = [](void *context, const rs_call_event *event) noexcept {
            std::optional<std::string_view> sha, node;
            if (event->sha) sha = std::string_view(event->sha, event->sha_len);
            if (event->node) node = std::string_view(event->node, event->node_len);
            (*static_cast<Call *>(context))(
                CallEvent{event->kind, event->status, event->reason, event->attempts, event->items,
                          std::string_view(event->name, event->name_len), sha, node, event->bytes_sent,
                          event->bytes_received,
                          std::chrono::nanoseconds(static_cast<std::int64_t>(event->duration_ns))});
        };
        auto free = [](void *context) noexcept { delete static_cast<Call *>(context); };
        return set(rs_options_set_call_hook, +told, static_cast<void *>(new Call(std::move(call))), +free);
    }

    // Keep figures of so many scripts, and of all others together; 0, the default: none. See Client::script_stats.
    Options &script_stats(std::size_t max_scripts) RS_SCRIPT_LIFETIMEBOUND {
        return set(rs_options_set_script_stats, max_scripts);
    }

    // The first value that could not be used, if any.
    const std::optional<Error> &error() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return error_; }
    std::optional<Error> error() && { return std::move(error_); }

    // The handle, for functions of the C library; borrowed.
    const rs_options *get() const noexcept RS_SCRIPT_LIFETIMEBOUND { return handle_.get(); }

private:
    // For times above 0: what is below is refused as 0 is.
    static std::uint64_t positive(std::chrono::milliseconds time) noexcept {
        return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
    }

    template <class Setter, class... Values> Options &set(Setter setter, Values... values) RS_SCRIPT_LIFETIMEBOUND {
        rs_error *error = nullptr;
        if (setter(handle_.get(), values..., &error) != RS_OK) {
            Error failed(error);
            if (!error_) error_ = std::move(failed);
        }
        return *this;
    }

    template <class Setter, class... Texts>
    Options &set_texts(Setter setter, Texts... texts) RS_SCRIPT_LIFETIMEBOUND {
        if (!(detail::has_nul(texts) || ...)) return set(setter, std::string(texts).c_str()...);
        if (!error_) error_ = Error(RS_ERR_INVALID_OPTION, "an option holds a NUL", RS_REASON_ARGUMENT, true);
        return *this;
    }

    detail::Handle<rs_options, rs_options_free> handle_;
    std::optional<Error> error_;
};

} // namespace rs

#endif // RS_SCRIPT_OPTIONS_HPP
