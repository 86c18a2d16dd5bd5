// rs::Client: a connection to a server or cluster that any number of threads may share.

#ifndef RS_SCRIPT_CLIENT_HPP
#define RS_SCRIPT_CLIENT_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <rs_script/call_options.hpp>
#include <rs_script/detail.hpp>
#include <rs_script/error.hpp>
#include <rs_script/options.hpp>
#include <rs_script/reply.hpp>
#include <rs_script/strings.hpp>

namespace rs {

// What a client's calls have cost since it was opened, over all its connections.
struct Stats {
    std::uint64_t calls;            // calls sent, those sent a second time counted again, and the handshakes
    std::uint64_t round_trips;      // bursts of writing to a socket; see RS_STAT_ROUND_TRIPS
    std::uint64_t bytes_sent;       // before encryption
    std::uint64_t bytes_received;   // after decryption
    std::uint64_t script_loads;     // SCRIPT LOADs sent of the library's own accord
    std::uint64_t noscript_repairs; // scripts loaded and sent again because the server had lost them
    std::uint64_t reconnects;       // connections opened after the first
    std::uint64_t redirects;        // MOVED and ASK redirections followed
    std::uint64_t in_flight;        // calls in flight now, those included whose callers have left
};

class Library;
class Script;
class Pipeline;
class Queue;

// A connection to a server, or to the servers of a cluster, that any number of threads may share; their calls travel
// together. A blocking call does its I/O on the thread that makes it. A child of fork() must open a client of its own.
class Client {
public:
    // Opens a client, and its connection unless the options say lazy_connect.
    //
    // `url`: `redis://[[user]:password@]host[:port][/database]`, `rediss://...` for TLS, `unix:///path`, a cluster as
    // `redis+cluster://[[user]:password@]host[:port],host[:port],...`, or the primary of a service behind sentinels as
    // `redis+sentinel://[[user]:password@]host[:port],.../service[/database]`.
    explicit Client(std::string_view url) : Client(try_open(url).value()) {}
    Client(std::string_view url, const Options &options) : Client(try_open(url, options).value()) {}
    static Result<Client> try_open(std::string_view url) { return open(url, nullptr); }
    static Result<Client> try_open(std::string_view url, const Options &options) {
        if (options.error()) return *options.error();
        if (!options.get()) return detail::moved_from("the options were");
        return open(url, options.get());
    }

    // Takes ownership of a client of the C library.
    explicit Client(rs_client *client) noexcept : handle_(client) {}

    // Another handle of the same client whose calls have these options where they say nothing else:
    // `client.with({.timeout = 50ms})`. It shares the connection. Not read_only and idempotent, which are of a call.
    Client with(const CallOptions &defaults) const { return try_with(defaults).value(); }
    Result<Client> try_with(const CallOptions &defaults) const {
        if (detail::is_timeless(defaults)) return detail::timeless();
        rs_client *view = nullptr;
        rs_error *error = nullptr;
        const rs_call_options native = defaults.native();
        if (rs_client_with(get(), &native, &view, &error) != RS_OK) return Error(error);
        return Client(view);
    }

    // Sends a command as it is, for example `{"SET", "foo", 2}`, and waits for its reply. Commands that would change
    // the connection under other callers are refused with RS_ERR_COMMAND_REFUSED. A command is sent again only where a
    // server provably did not run it, or the options say that it may run twice. In a cluster it goes to the primary
    // that has its keys; one that concerns a single server needs a route, such as Route::all: RS_ERR_NO_ROUTE.
    Reply command(const Strings &argv, const CallOptions &options = {}) const {
        return try_command(argv, options).value();
    }
    Result<Reply> try_command(const Strings &argv, const CallOptions &options = {}) const {
        return detail::reply_of(options, [&](const rs_call_options *native, rs_reply **reply, rs_error **error) {
            return rs_client_command(get(), argv.size(), argv.data(), argv.lengths(), native, reply, error);
        });
    }

    // Sends a command without waiting: its reply will be in `queue`, under `tag`. An error means that it was not
    // accepted and has no completion: RS_ERR_QUEUE_FULL, or what is wrong with the arguments.
    void submit(const Queue &queue, std::uint64_t tag, const Strings &argv, const CallOptions &options = {}) const {
        try_submit(queue, tag, argv, options).value();
    }
    Result<void> try_submit(const Queue &queue, std::uint64_t tag, const Strings &argv,
                            const CallOptions &options = {}) const;

    // Ends the calls under way in `queue` that this client has submitted with this tag; how many there were. Each is
    // completed at once: with RS_ERR_CANCELLED where nothing was sent, with RS_ERR_INDETERMINATE where the server may
    // have executed it or may yet do so.
    std::size_t cancel(const Queue &queue, std::uint64_t tag) const { return try_cancel(queue, tag).value(); }
    Result<std::size_t> try_cancel(const Queue &queue, std::uint64_t tag) const;

    // An empty pipeline on this client: see Pipeline. `flags`: RS_PIPELINE_REPAIR_UNORDERED or 0.
    Pipeline pipeline(std::uint32_t flags = 0) const;
    Result<Pipeline> try_pipeline(std::uint32_t flags = 0) const;

    // An empty transaction on this client: everything runs without anything in between (MULTI and EXEC), or nothing
    // does. An item that fails while it runs does not undo the others. `flags`: RS_PIPELINE_TRUST_CACHE or 0.
    Pipeline transaction(std::uint32_t flags = 0) const;
    Result<Pipeline> try_transaction(std::uint32_t flags = 0) const;

    // Asks for credentials again (Options::credentials) and has every open connection log in with them.
    // Returns when all have.
    void reauthenticate() const { try_reauthenticate().value(); }
    Result<void> try_reauthenticate() const {
        rs_error *error = nullptr;
        if (rs_client_reauthenticate(get(), &error) != RS_OK) return Error(error);
        return {};
    }

    // Loads a script into the server's cache; in a cluster, into every primary's. There is no need to: a call does it
    // by itself.
    void script_load(const Script &script) const { try_script_load(script).value(); }
    Result<void> try_script_load(const Script &script) const;

    // Asks which scripts the server has in its cache, in a cluster which of them every primary has, by their SHA1s of
    // 40 hexadecimal digits.
    std::vector<bool> script_exists(const Strings &shas) const { return try_script_exists(shas).value(); }
    Result<std::vector<bool>> try_script_exists(const Strings &shas) const {
        const auto exists = std::make_unique<bool[]>(shas.size());
        rs_error *error = nullptr;
        if (rs_client_script_exists(get(), shas.size(), shas.data(), shas.lengths(), exists.get(), &error) != RS_OK)
            return Error(error);
        return std::vector<bool>(exists.get(), exists.get() + shas.size());
    }

    // Empties the server's script cache; in a cluster, every primary's. Calls go on working: they load what they need.
    // `mode`: one of the RS_FLUSH_ numbers.
    void script_flush(std::int32_t mode = RS_FLUSH_DEFAULT) const { try_script_flush(mode).value(); }
    Result<void> try_script_flush(std::int32_t mode = RS_FLUSH_DEFAULT) const {
        rs_error *error = nullptr;
        if (rs_client_script_flush(get(), mode, &error) != RS_OK) return Error(error);
        return {};
    }

    // Stops the script that the server is running, if it has not written yet; in a cluster, the scripts that the
    // primaries are running. They need not be this client's.
    void script_kill() const { try_script_kill().value(); }
    Result<void> try_script_kill() const {
        rs_error *error = nullptr;
        if (rs_client_script_kill(get(), &error) != RS_OK) return Error(error);
        return {};
    }

    // Stops what the server is running, a script or a function, if it has not written yet; in a cluster, what the
    // primaries are running. An array with an array for each that was stopped: `script` or `function`, the function's
    // name or nil, the server.
    Reply kill() const { return try_kill().value(); }
    Result<Reply> try_kill() const {
        rs_reply *killed = nullptr;
        rs_error *error = nullptr;
        if (rs_client_kill(get(), &killed, &error) != RS_OK) return Error(error);
        return Reply(killed);
    }

    // The source of a script by its SHA1; no reply (false) when the server does not have the script. Valkey 8 and
    // later.
    Reply script_show(std::string_view sha) const { return try_script_show(sha).value(); }
    Result<Reply> try_script_show(std::string_view sha) const {
        rs_reply *source = nullptr;
        rs_error *error = nullptr;
        if (rs_client_script_show(get(), sha.data(), sha.size(), &source, &error) != RS_OK) return Error(error);
        return Reply(source);
    }

    // Loads a library, where none of its name is there; in a cluster, into every primary. There is no need to: a call
    // of a function does it by itself. A map from each primary's `host:port`, or the path of its socket, to `loaded`
    // or `there`, or to the error by which it has not got it, see ReplyView::error. Where none has, that is the
    // error.
    Reply library_load(const Library &library) const { return try_library_load(library).value(); }
    Result<Reply> try_library_load(const Library &library) const;

    // Compares a library with the one of its name on every primary: a map to `same`, `different` or `absent`.
    Reply library_check(const Library &library) const { return try_library_check(library).value(); }
    Result<Reply> try_library_check(const Library &library) const;

    // Puts a library in the place of the one of its name on every primary, one by one: the one place where a library
    // is replaced. A map to what each has, looked at behind the load: `same`, if nobody else was at it.
    Reply library_deploy(const Library &library) const { return try_library_deploy(library).value(); }
    Result<Reply> try_library_deploy(const Library &library) const;

    // The libraries of every primary: a map to each one's answer to FUNCTION LIST.
    Reply library_list() const { return try_library_list().value(); }
    Result<Reply> try_library_list() const {
        rs_reply *libraries = nullptr;
        rs_error *error = nullptr;
        if (rs_client_library_list(get(), &libraries, &error) != RS_OK) return Error(error);
        return Reply(libraries);
    }

    // Removes the other versions of these pinned libraries from every primary: a map to the names of those that each
    // has removed. Nothing is ever removed but by this.
    Reply library_prune(const std::vector<std::reference_wrapper<const Library>> &keep) const {
        return try_library_prune(keep).value();
    }
    Result<Reply> try_library_prune(const std::vector<std::reference_wrapper<const Library>> &keep) const;

    // Closes the client under all its handles. Calls in flight on other threads end at once, with RS_ERR_CLOSED or
    // RS_ERR_INDETERMINATE; later calls end with RS_ERR_CLOSED.
    void close() const noexcept { rs_client_close(get()); }

    // What became of the calls of each script: an array of maps, as rs_client_script_stats makes it.
    Reply script_stats() const { return try_script_stats().value(); }
    Result<Reply> try_script_stats() const {
        rs_reply *reply = nullptr;
        rs_error *error = nullptr;
        if (rs_client_script_stats(get(), &reply, &error) != RS_OK) return Error(error);
        return Reply(reply);
    }

    // What its calls have cost.
    Stats stats() const noexcept {
        std::uint64_t v[RS_STAT_COUNT];
        rs_client_stats(get(), v, RS_STAT_COUNT);
        return {v[RS_STAT_CALLS],        v[RS_STAT_ROUND_TRIPS],      v[RS_STAT_BYTES_SENT],
                v[RS_STAT_BYTES_RECEIVED], v[RS_STAT_SCRIPT_LOADS],   v[RS_STAT_NOSCRIPT_REPAIRS],
                v[RS_STAT_RECONNECTS],   v[RS_STAT_REDIRECTS],        v[RS_STAT_IN_FLIGHT]};
    }

    // The handle, for functions of the C library; borrowed.
    rs_client *get() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return handle_.get(); }
    rs_client *get() const && = delete;

private:
    static Result<Client> open(std::string_view url, const rs_options *options) {
        if (detail::has_nul(url))
            return Error(RS_ERR_INVALID_URL, "invalid URL: it holds a NUL", RS_REASON_ARGUMENT, true);
        rs_client *client = nullptr;
        rs_error *error = nullptr;
        if (rs_client_open(detail::Secret(url).text.c_str(), options, &client, &error) != RS_OK) return Error(error);
        return Client(client);
    }

    detail::Handle<rs_client, rs_client_free> handle_;
};

} // namespace rs

#endif // RS_SCRIPT_CLIENT_HPP
