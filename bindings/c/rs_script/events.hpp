// rs::Events: what clients tell and ask for, kept until it is fetched, for programs that do not want callbacks.

#ifndef RS_SCRIPT_EVENTS_HPP
#define RS_SCRIPT_EVENTS_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <rs_script/detail.hpp>
#include <rs_script/error.hpp>
#include <rs_script/options.hpp>
#include <rs_script/queue.hpp>

namespace rs {

// An event that was kept; as Event, with texts of its own.
struct KeptEvent {
    std::int32_t kind;   // RS_EVENT_...
    std::int32_t level;  // RS_LOG_LEVEL_...
    rs_status status;    // of the error behind it, or RS_OK
    std::int32_t reason; // RS_REASON_..., or 0
    std::optional<std::string> node;
    std::string message;
};

// What Events::take has taken out.
struct TakenEvents {
    std::vector<KeptEvent> events;
    // How many were dropped since the last time, as there was no room, or now, as there was no memory.
    std::size_t dropped = 0;
};

// A connection that waits for user and password. It is answered or refused once, now or later, on any thread, also when
// its client is gone. Destroyed before, it is refused.
class CredentialsRequest {
public:
    // Takes ownership of a request of the C library, such as rs_credentials_fn is given.
    explicit CredentialsRequest(rs_credentials_request *request) noexcept : handle_(request) {}

    // The server: `host:port` or a socket's path.
    std::string_view node() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return rs_credentials_node(handle_.get()); }
    std::string_view node() const && = delete;

    // Gives them; the request is empty afterwards. RS_ERR_INVALID_ARGUMENT where they cannot be used: then it is
    // refused with that.
    void answer(const Credentials &credentials) { try_answer(credentials).value(); }
    Result<void> try_answer(const Credentials &credentials) {
        rs_error *error = nullptr;
        const rs_status status = detail::give(handle_.release(), credentials, &error);
        if (status == RS_OK) return {};
        if (!error) return Error(status, "the user name holds a NUL", RS_REASON_ARGUMENT, true);
        return Error(error);
    }

    // There are none; `why` must hold no secret. The request is empty afterwards.
    void refuse(const std::string &why) noexcept { rs_credentials_refuse(handle_.release(), why.c_str()); }

private:
    struct Refuse {
        void operator()(rs_credentials_request *request) const noexcept {
            rs_credentials_refuse(request, "the request was dropped");
        }
    };
    std::unique_ptr<rs_credentials_request, Refuse> handle_;
};

// A place for events, and for requests for credentials, of clients that are opened with options that name it
// (Options::events, Options::credentials_events). What comes wakes the queue, as Queue::wake does: whoever waits for
// its descriptor, or polls it, looks here after each poll.
//
//     rs::Queue queue(1000);
//     rs::Events events(100, queue);
//     rs::Client client(url, rs::Options().events(events));
//     ...
//     for (const rs::KeptEvent &event : events.take().events) std::cerr << event.message << '\n';
//
// Any number of clients may share it, and any number of threads use it. It may be destroyed before them: then nobody is
// told.
class Events {
public:
    // `capacity`: above 0; of more events the oldest are dropped, and of more requests the oldest refused.
    Events(std::size_t capacity, const Queue &queue) : Events(try_new(capacity, queue).value()) {}
    static Result<Events> try_new(std::size_t capacity, const Queue &queue) {
        rs_events *events = nullptr;
        rs_error *error = nullptr;
        if (rs_events_new(capacity, queue.get(), &events, &error) != RS_OK) return Error(error);
        return Events(events);
    }

    // Takes ownership of what the C library has made.
    explicit Events(rs_events *events) noexcept : handle_(events) {}

    // Takes all events out, in the order in which they came.
    TakenEvents take() const { return try_take().value(); }
    Result<TakenEvents> try_take() const {
        TakenEvents taken;
        std::vector<char> buffer(4096);
        for (;;) {
            std::size_t used = 0, needed = 0, dropped = 0;
            rs_error *error = nullptr;
            if (rs_events_take(get(), buffer.data(), buffer.size(), &used, &needed, &dropped, &error) != RS_OK)
                return Error(error);
            taken.dropped += dropped;
            for (Reader reader{buffer.data(), buffer.data() + used}; reader.at != reader.end;) {
                const Packed event = reader.event();
                if (!keep(taken.events, event)) ++taken.dropped;
            }
            if (needed == 0) return taken;
            if (needed > buffer.size() && !enlarge(buffer, needed, taken)) return taken;
        }
    }

    // Takes a request for credentials out, if there is one.
    std::optional<CredentialsRequest> take_credentials() const { return try_take_credentials().value(); }
    Result<std::optional<CredentialsRequest>> try_take_credentials() const {
        rs_credentials_request *request = nullptr;
        rs_error *error = nullptr;
        if (rs_events_take_credentials(get(), &request, &error) != RS_OK) return Error(error);
        if (!request) return std::optional<CredentialsRequest>();
        return std::optional<CredentialsRequest>(CredentialsRequest(request));
    }

    // The handle, for functions of the C library; borrowed.
    rs_events *get() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return handle_.get(); }
    rs_events *get() const && = delete;

private:
    // An event as it is in the buffer.
    struct Packed {
        std::int32_t kind, level;
        rs_status status;
        std::int32_t reason;
        std::string_view node, message;
    };

    // The library's own bytes: they are not checked again.
    struct Reader {
        const char *at;
        const char *end;

        template <class T> T number() noexcept {
            T number;
            std::memcpy(&number, at, sizeof number);
            at += sizeof number;
            return number;
        }
        std::string_view text() noexcept {
            const auto length = number<std::uint32_t>();
            const std::string_view text(at, length);
            at += length;
            return text;
        }
        Packed event() noexcept {
            Packed event;
            event.kind = number<std::int32_t>();
            event.level = number<std::int32_t>();
            event.status = number<rs_status>();
            event.reason = number<std::int32_t>();
            event.node = text();
            event.message = text();
            return event;
        }
    };

    // False: there is no memory for it, and those before it and behind it are kept all the same.
    static bool keep(std::vector<KeptEvent> &events, const Packed &packed) {
        return detail::has_memory([&] {
            KeptEvent event{packed.kind, packed.level, packed.status, packed.reason, std::nullopt, {}};
            if (!packed.node.empty()) event.node.emplace(packed.node);
            event.message = packed.message;
            events.push_back(std::move(event));
        });
    }

    // False: there is no memory for the next event, which stays where it is. Where nothing else is there to be told,
    // that is thrown.
    static bool enlarge(std::vector<char> &buffer, std::size_t size, const TakenEvents &taken) {
        if (taken.events.empty() && taken.dropped == 0) return buffer.resize(size), true;
        return detail::has_memory([&] { buffer.resize(size); });
    }

    detail::Handle<rs_events, rs_events_free> handle_;
};

inline Options &Options::events(const Events &events) { return set(rs_options_set_events, events.get()); }

inline Options &Options::credentials_events(const Events &events) {
    return set(rs_options_set_credentials_events, events.get());
}

} // namespace rs

#endif // RS_SCRIPT_EVENTS_HPP
