// rs::Script: a Lua script, to be called with any client.

#ifndef RS_SCRIPT_SCRIPT_HPP
#define RS_SCRIPT_SCRIPT_HPP

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include <rs_script/call_options.hpp>
#include <rs_script/client.hpp>
#include <rs_script/detail.hpp>
#include <rs_script/error.hpp>
#include <rs_script/queue.hpp>
#include <rs_script/reply.hpp>
#include <rs_script/strings.hpp>

namespace rs {

class Script;

// How the calls of a script happen exactly once: see RS_SCRIPT_ONCE. What is not set is the library's.
struct Once {
    // How long a server remembers a token, from the last call with it on: a second to a year.
    std::chrono::milliseconds lifetime = {};

    // The longest reply that is kept for repeats, in bytes.
    std::size_t reply_limit = 0;

    // What the keys begin with under which tokens are kept: up to 256 bytes, none of them a `{`.
    std::string prefix = {};

    // How many replicas must have a call before it counts as done, and how long they are waited for at each attempt.
    std::size_t wait_replicas = 0;
    std::chrono::milliseconds wait_timeout = {};
};

// What a script has beside its source.
struct ScriptOptions {
    // It may safely run twice: a call whose reply was lost is sent again within its deadline.
    Flag idempotent = false;

    // What it is called in figures and events; none, or up to 256 bytes of UTF-8.
    std::string name = {};

    // Its calls happen exactly once each: `{.once = rs::Once{}}`.
    std::optional<Once> once = {};

    // It is called as a function of a library that its client makes, which servers replicate and persist: see
    // RS_SCRIPT_AS_FUNCTION. Not of a function of an rs::Library.
    Flag as_function = false;
};

namespace detail {

// The fields of this in the options of a script or library, which refer to it. Ranges are the C library's to check.
template <class Native> void set_once(const Once &once, Native &native) {
    const auto count = [](std::chrono::milliseconds time) { return static_cast<std::uint64_t>(time.count()); };
    native.token_lifetime_ms = count(once.lifetime);
    native.reply_limit = once.reply_limit;
    if (!once.prefix.empty()) {
        native.token_prefix = once.prefix.data();
        native.token_prefix_len = once.prefix.size();
    }
    native.wait_replicas = once.wait_replicas;
    native.wait_timeout_ms = count(once.wait_timeout);
}

// What `call` makes a script of, with these options for the C library.
template <class Call> Result<Script> script_of(const ScriptOptions &options, Call call);

} // namespace detail

// A script on another client than its own: `script.on(client)`, for where both are wanted. It refers to them.
class ScriptOn {
public:
    // A script on its own client.
    ScriptOn(const Script &script RS_SCRIPT_LIFETIMEBOUND) noexcept : script_(&script) {}
    ScriptOn(const Script &script RS_SCRIPT_LIFETIMEBOUND, const Client &client RS_SCRIPT_LIFETIMEBOUND) noexcept
        : script_(&script), client_(&client) {}

    // As those of Script.
    Result<Reply> try_call(const Strings &keys, const Strings &args, const CallOptions &options = {}) const;
    Reply call(const Strings &keys, const Strings &args, const CallOptions &options = {}) const {
        return try_call(keys, args, options).value();
    }
    Result<void> try_submit(const Queue &queue, std::uint64_t tag, const Strings &keys, const Strings &args,
                            const CallOptions &options = {}) const;
    void submit(const Queue &queue, std::uint64_t tag, const Strings &keys, const Strings &args,
                const CallOptions &options = {}) const {
        try_submit(queue, tag, keys, args, options).value();
    }

private:
    // To the C library no client means the script's own: not that of a handle that was moved from.
    bool is_nowhere() const noexcept { return client_ && !client_->get(); }
    rs_client *client() const noexcept { return client_ ? client_->get() : nullptr; }

    const Script *script_;
    const Client *client_ = nullptr;
};

// A Lua script, or a function of an rs::Library, immutable, usable with any client, server and thread. It may go
// while other threads' calls are in flight.
class Script {
    // A client and nothing that one could be made of.
    template <class T> using if_client = std::enable_if_t<std::is_same_v<T, Client>, int>;

public:
    // Makes a script of exactly these bytes for calls on `client`. No I/O; whether it compiles shows at the first
    // call. The script does not keep the client open.
    Script(const Client &client, std::string_view lua, const ScriptOptions &options = {})
        : Script(try_register(client, lua, options).value()) {}
    static Result<Script> try_register(const Client &client, std::string_view lua, const ScriptOptions &options = {}) {
        if (!client.get()) return detail::moved_from("the client was");
        return register_with(client.get(), lua, options);
    }

    // The same for no client in particular: each call names one.
    explicit Script(std::string_view lua, const ScriptOptions &options = {})
        : Script(try_register(lua, options).value()) {}
    static Result<Script> try_register(std::string_view lua, const ScriptOptions &options = {}) {
        return register_with(nullptr, lua, options);
    }

    // Takes ownership of a script of the C library.
    explicit Script(rs_script *script) noexcept : handle_(script) {}

    // The SHA1: 40 lower-case hexadecimal digits and a NUL; lives as long as the script; of a script without a name it
    // is a copy.
    const char *sha() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return rs_script_sha(get()); }
    std::string sha() const && { return rs_script_sha(handle_.get()); }

    // The name in its options; empty where it has none.
    std::string name() const { return rs_script_name(handle_.get()); }

    // The server's name of a function, with the digest of a pinned library behind it, and of a script that is called
    // as one; empty for other scripts.
    std::string function_name() const { return rs_script_function_name(handle_.get()); }

    // The script on another client than its own.
    ScriptOn on(const Client &client RS_SCRIPT_LIFETIMEBOUND) const & noexcept RS_SCRIPT_LIFETIMEBOUND {
        return ScriptOn(*this, client);
    }
    ScriptOn on(const Client &client) const && = delete;

    // Calls the script with these keys (KEYS in Lua) and arguments (ARGV) and waits for its reply. It is loaded if
    // need be, in the same write. Sent again only when the server provably did not run it, or when it is idempotent or
    // read_only, or has `once`.
    Reply call(const Strings &keys, const Strings &args, const CallOptions &options = {}) const {
        return try_call(keys, args, options).value();
    }
    Result<Reply> try_call(const Strings &keys, const Strings &args, const CallOptions &options = {}) const {
        return ScriptOn(*this).try_call(keys, args, options);
    }

    // The same on another client.
    template <class On, if_client<On> = 0>
    Reply call(const On &client, const Strings &keys, const Strings &args, const CallOptions &options = {}) const {
        return try_call(client, keys, args, options).value();
    }
    template <class On, if_client<On> = 0> Result<Reply> try_call(const On &client, const Strings &keys,
                                                                  const Strings &args,
                                                                  const CallOptions &options = {}) const {
        return ScriptOn(*this, client).try_call(keys, args, options);
    }

    // Calls it without waiting: the reply will be in `queue`, under `tag`. An error means that the call was not
    // accepted and has no completion: RS_ERR_QUEUE_FULL, or what is wrong with the arguments.
    void submit(const Queue &queue, std::uint64_t tag, const Strings &keys, const Strings &args,
                const CallOptions &options = {}) const {
        try_submit(queue, tag, keys, args, options).value();
    }
    Result<void> try_submit(const Queue &queue, std::uint64_t tag, const Strings &keys, const Strings &args,
                            const CallOptions &options = {}) const {
        return ScriptOn(*this).try_submit(queue, tag, keys, args, options);
    }

    // The same on another client.
    template <class On, if_client<On> = 0>
    void submit(const On &client, const Queue &queue, std::uint64_t tag, const Strings &keys, const Strings &args,
                const CallOptions &options = {}) const {
        try_submit(client, queue, tag, keys, args, options).value();
    }
    template <class On, if_client<On> = 0>
    Result<void> try_submit(const On &client, const Queue &queue, std::uint64_t tag, const Strings &keys,
                            const Strings &args, const CallOptions &options = {}) const {
        return ScriptOn(*this, client).try_submit(queue, tag, keys, args, options);
    }

    // The handle, for functions of the C library; borrowed.
    const rs_script *get() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return handle_.get(); }
    const rs_script *get() const && = delete;

private:
    static Result<Script> register_with(rs_client *client, std::string_view lua, const ScriptOptions &options);

    detail::Handle<rs_script, rs_script_free> handle_;
};

template <class Call> Result<Script> detail::script_of(const ScriptOptions &options, Call call) {
    rs_script_options native = RS_SCRIPT_OPTIONS_INIT;
    if (options.idempotent) native.flags |= RS_SCRIPT_IDEMPOTENT;
    if (options.as_function) native.flags |= RS_SCRIPT_AS_FUNCTION;
    if (options.once) {
        native.flags |= RS_SCRIPT_ONCE;
        set_once(*options.once, native);
    }
    native.name = options.name.data();
    native.name_len = options.name.size();
    rs_script *script = nullptr;
    rs_error *error = nullptr;
    if (call(&native, &script, &error) != RS_OK) return Error(error);
    return Script(script);
}

inline Result<Script> Script::register_with(rs_client *client, std::string_view lua, const ScriptOptions &options) {
    return detail::script_of(options, [&](const rs_script_options *native, rs_script **script, rs_error **error) {
        return rs_script_register(client, lua.data(), lua.size(), native, script, error);
    });
}

inline Result<Reply> ScriptOn::try_call(const Strings &keys, const Strings &args, const CallOptions &options) const {
    if (is_nowhere()) return detail::moved_from("the client was");
    return detail::reply_of(options, [&](const rs_call_options *native, rs_reply **reply, rs_error **error) {
        return rs_script_call(script_->get(), client(), keys.size(), keys.data(), keys.lengths(), args.size(),
                              args.data(), args.lengths(), native, reply, error);
    });
}

inline Result<void> ScriptOn::try_submit(const Queue &queue, std::uint64_t tag, const Strings &keys,
                                         const Strings &args, const CallOptions &options) const {
    if (is_nowhere()) return detail::moved_from("the client was");
    return detail::success_of(options, [&](const rs_call_options *native, rs_error **error) {
        return rs_script_submit(script_->get(), client(), keys.size(), keys.data(), keys.lengths(), args.size(),
                                args.data(), args.lengths(), native, queue.get(), tag, error);
    });
}

inline Result<void> Client::try_script_load(const Script &script) const {
    rs_error *error = nullptr;
    if (rs_client_script_load(get(), script.get(), &error) != RS_OK) return Error(error);
    return {};
}

} // namespace rs

#endif // RS_SCRIPT_SCRIPT_HPP
