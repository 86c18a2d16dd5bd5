// rs::CallOptions: what a single call has of its own instead of its client's.

#ifndef RS_SCRIPT_CALL_OPTIONS_HPP
#define RS_SCRIPT_CALL_OPTIONS_HPP

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <rs_script/detail.hpp>
#include <rs_script/error.hpp>
#include <rs_script/reply.hpp>

namespace rs {

// Where a call goes that has no keys, or a command whose keys the library does not know. Keys go before it. On a
// client of a single server every route leads there, and with all() the reply is a map all the same.
class Route {
public:
    // Where the client's own route leads.
    Route() noexcept = default;

    // To any primary, taken at random.
    static Route any() { return Route(RS_ROUTE_ANY); }

    // To the primary that has the slot of `key`.
    static Route key(std::string_view key) { return Route(RS_ROUTE_KEY, 0, key); }

    // To the primary that has this slot, 0 to 16383.
    static Route slot(std::uint16_t slot) { return Route(RS_ROUTE_SLOT, slot); }

    // To a server, by its `host:port`; a replica's will do. Whether there is such a server shows when it is called:
    // RS_ERR_NO_ROUTE.
    static Route node(std::string_view node) { return Route(RS_ROUTE_NODE, 0, node); }

    // To all primaries side by side. The reply is a map from each one's `host:port` to its reply; one that gave none
    // has an error there, see ReplyView::error. Not for pipelines and transactions: RS_ERR_NO_ROUTE.
    static Route all() { return Route(RS_ROUTE_ALL); }

    // One of the RS_ROUTE_ numbers.
    std::int32_t kind() const noexcept { return kind_; }

private:
    friend struct CallOptions;

    explicit Route(std::int32_t kind, std::uint32_t slot = 0, std::string_view to = {})
        : kind_(kind), slot_(slot), to_(to.begin(), to.end()) {}

    std::int32_t kind_ = RS_ROUTE_DEFAULT;
    std::uint32_t slot_ = 0;
    std::vector<char>
        to_; // no std::string: GCC 12 moves aggregates behind co_await byte by byte, and a string refers to itself
};

// What a call has of its own; what is not set is the client's. From C++20 on:
//
//     script.call({"k"}, {5}, {.read_only = true, .timeout = 50ms});
//
// An item of a pipeline has read_only, idempotent and token alone, a pipeline that is executed all but read_only, a
// client timeout, read_from and route.
struct CallOptions {
    // The call only reads. A script is stopped by the server at its first write; of a command that is your word. It is
    // sent again when its reply was lost, and may be run by replicas: see read_from.
    Flag read_only = false;

    // The call may safely run twice: it is sent again when its reply was lost.
    Flag idempotent = false;

    // How long it may take, all its attempts together; above 0.
    std::optional<std::chrono::milliseconds> timeout = {};

    // Which servers run it if it is read-only: one of the RS_READ_FROM_ numbers.
    std::int32_t read_from = RS_READ_FROM_DEFAULT;

    // Where it goes if it has no keys.
    Route route = {};

    // Of a call of a script that has `once`: a token of your own, 1 to 256 bytes; of a pipeline that is executed one
    // for all its items. It is read at once, and not kept.
    std::string_view token = {};

    // The same for the C library, which reads it at once; it refers to this.
    rs_call_options native() const noexcept RS_SCRIPT_LIFETIMEBOUND {
        rs_call_options options = RS_CALL_OPTIONS_INIT;
        if (read_only) options.flags |= RS_CALL_READ_ONLY;
        if (idempotent) options.flags |= RS_CALL_IDEMPOTENT;
        if (timeout) options.timeout_ms = static_cast<std::uint64_t>(timeout->count());
        options.read_from = read_from;
        options.route = route.kind_;
        if (route.kind_ == RS_ROUTE_KEY || route.kind_ == RS_ROUTE_NODE) {
            options.route_to = route.to_.data();
            options.route_len = route.to_.size();
        }
        options.route_slot = route.slot_;
        options.token = token.data();
        options.token_len = token.size();
        return options;
    }
};

namespace detail {

// Makes a call of the C library with these options, with NULL where none is set.
template <class Call> rs_status with_options(const CallOptions &options, Call call) {
    const bool is_plain = !options.read_only && !options.idempotent && !options.timeout &&
                          options.read_from == RS_READ_FROM_DEFAULT && options.route.kind() == RS_ROUTE_DEFAULT &&
                          options.token.data() == nullptr;
    if (is_plain) return call(nullptr);
    const rs_call_options native = options.native();
    return call(&native);
}

// Why options cannot be used, as far as the C library cannot see it.
inline bool is_timeless(const CallOptions &options) noexcept {
    return options.timeout && options.timeout->count() <= 0;
}

inline Error timeless() {
    return Error(RS_ERR_INVALID_ARGUMENT, "the timeout is not above 0; nothing was sent", RS_REASON_ARGUMENT, true);
}

inline Error out_of_range(const char *what) {
    return Error(RS_ERR_INVALID_ARGUMENT, std::string(what) + " is out of range", RS_REASON_ARGUMENT, true);
}

// Makes a call of the C library: `call(const rs_call_options *, rs_reply **, rs_error **)`.
template <class Call> Result<Reply> reply_of(const CallOptions &options, Call call) {
    if (is_timeless(options)) return timeless();
    rs_reply *reply = nullptr;
    rs_error *error = nullptr;
    const rs_status status =
        with_options(options, [&](const rs_call_options *native) { return call(native, &reply, &error); });
    if (status != RS_OK) return Error(error);
    return Reply(reply);
}

// The same where nothing is given: `call(const rs_call_options *, rs_error **)`.
template <class Call> Result<void> success_of(const CallOptions &options, Call call) {
    if (is_timeless(options)) return timeless();
    rs_error *error = nullptr;
    const rs_status status =
        with_options(options, [&](const rs_call_options *native) { return call(native, &error); });
    if (status != RS_OK) return Error(error);
    return {};
}

} // namespace detail
} // namespace rs

#endif // RS_SCRIPT_CALL_OPTIONS_HPP
