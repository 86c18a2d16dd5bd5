// rs::Queue: where calls end that nobody waits for, and rs::Completion: what has become of one.

#ifndef RS_SCRIPT_QUEUE_HPP
#define RS_SCRIPT_QUEUE_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <rs_script/call_options.hpp>
#include <rs_script/client.hpp>
#include <rs_script/detail.hpp>
#include <rs_script/error.hpp>
#include <rs_script/reply.hpp>
#include <rs_script/strings.hpp>

namespace rs {

// What has become of a call that was submitted.
class Completion {
public:
    // Takes ownership of what is in a completion of the C library.
    explicit Completion(const rs_completion &completion)
        : tag_(completion.tag), reply_(completion.reply),
          error_(completion.error ? std::optional<Error>(Error(completion.error)) : std::nullopt) {}

    // An end that these headers themselves tell of.
    Completion(std::uint64_t tag, Error error) : tag_(tag), error_(std::move(error)) {}

    // The number that the call was submitted with.
    std::uint64_t tag() const noexcept { return tag_; }

    // Whether there is a reply and no error.
    bool ok() const noexcept { return !error_; }

    // RS_OK, or the error's.
    rs_status status() const noexcept { return error_ ? error_->status() : RS_OK; }

    // The reply; throws the error when there is one.
    const Reply &reply() const & RS_SCRIPT_LIFETIMEBOUND {
        if (error_) detail::raise(*error_);
        return reply_;
    }
    Reply reply() && { return static_cast<const Completion &>(*this).reply(), std::move(reply_); }

    // The reply or the error, moved out.
    Result<Reply> try_reply() && {
        if (error_) return *std::move(error_);
        return std::move(reply_);
    }

    // Why there is no reply; empty when there is one.
    const std::optional<Error> &error() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return error_; }
    std::optional<Error> error() && { return std::move(error_); }

    // Of a pipeline that broke half-way: the replies of its first items, as far as they arrived. Otherwise nothing
    // (false).
    ReplyView arrived() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return error_ ? reply_.view() : ReplyView(); }
    ReplyView arrived() const && = delete;

private:
    std::uint64_t tag_;
    Reply reply_;
    std::optional<Error> error_;
};

// How long to wait: without end.
inline constexpr std::chrono::milliseconds forever = std::chrono::milliseconds::max();

// Where calls end that nobody waits for: submit them with a tag, and take completions out whenever it suits.
//
//     rs::Queue queue(1000);
//     multiply.submit(queue, 7, {"foo"}, {5});
//     for (rs::Completion &done : queue.poll(100)) std::cout << done.tag() << ' ' << done.reply().integer() << '\n';
//     // 7 10
//
// Every call that is accepted has exactly one completion: reply, error, deadline, cancellation, close. It outlives its
// clients.
class Queue {
public:
    // For up to `capacity` calls that are under way or wait to be taken out; above 0. `flags`: 0, and a client that
    // submits to it has a thread in the background; or RS_QUEUE_NO_THREAD, for an event loop of your own: then poll
    // and dispatch do all the work, and fd() is readable when there is some. See rs_queue_new.
    explicit Queue(std::size_t capacity, std::uint32_t flags = 0) : Queue(try_new(capacity, flags).value()) {}
    static Result<Queue> try_new(std::size_t capacity, std::uint32_t flags = 0) {
        (void)lacking(); // there may be no memory for it where it is needed
        rs_queue *queue = nullptr;
        rs_error *error = nullptr;
        if (rs_queue_new(capacity, flags, &queue, &error) != RS_OK) return Error(error);
        return Queue(queue);
    }

    // Takes ownership of a queue of the C library. (A template, so that 0 is a capacity and no pointer.)
    template <typename Native, std::enable_if_t<std::is_same<Native, rs_queue *>::value, int> = 0>
    explicit Queue(Native queue) noexcept : handle_(queue) {}

    // Takes up to `max` completions out, in the order in which they came, and waits for the first one: not at all with
    // 0ms. With fewer than `max` the queue was empty then.
    std::vector<Completion> poll(std::size_t max, std::chrono::milliseconds timeout = forever) const {
        return try_poll(max, timeout).value();
    }
    Result<std::vector<Completion>> try_poll(std::size_t max, std::chrono::milliseconds timeout = forever) const {
        std::vector<Completion> completions;
        for (;;) {
            // There is room for what is taken out before it is, or it would be lost: twice as much each time.
            const std::size_t more = std::max<std::size_t>(completions.size(), 16);
            const std::size_t room = std::min(max - completions.size(), more);
            if (!make_room(completions, room)) return completions;
            Result<std::size_t> count =
                try_dispatch(room, completions.empty() ? timeout : std::chrono::milliseconds(0),
                             [&](Completion done) { completions.push_back(std::move(done)); });
            if (!count && completions.empty()) return std::move(count).error();
            if (!count || *count < room || completions.size() == max) return completions;
        }
    }

    // The same, and calls `done(rs::Completion)` for each of them, on this thread and before it returns. It may
    // submit, cancel, close, and poll this queue, but not free it. How many there were.
    //
    // What `done` throws does not pass through the C library: the others that were taken out are handed over as well,
    // and then the first exception leaves dispatch; further ones are dropped.
    template <class Done> std::size_t dispatch(std::size_t max, std::chrono::milliseconds timeout, Done &&done) const {
        return try_dispatch(max, timeout, std::forward<Done>(done)).value();
    }
    template <class Done>
    Result<std::size_t> try_dispatch(std::size_t max, std::chrono::milliseconds timeout, Done &&done) const {
        (void)lacking(); // what it needs is there before anything is taken out
        Handing<std::remove_reference_t<Done>> handing{done, nullptr};
        std::size_t count = 0;
        rs_error *error = nullptr;
        if (rs_queue_dispatch(get(), max, milliseconds(timeout), hand<std::remove_reference_t<Done>>, &handing, &count,
                              &error) != RS_OK)
            return Error(error);
#if defined(__cpp_exceptions)
        if (handing.thrown) std::rethrow_exception(handing.thrown);
#endif
        return count;
    }

    // Wakes the threads that wait in poll: all return at once, maybe with nothing. The next poll that begins does not
    // wait either, and up to then the descriptor is readable. To stop threads use close, which all see.
    void wake() const noexcept { rs_queue_wake(get()); }

    // Ends the queue for good: nothing new is accepted (RS_ERR_CLOSED), every poll returns at once, and the descriptor
    // stays readable. Calls under way go on, and their completions can still be taken out.
    void close() const noexcept { rs_queue_close(get()); }

    // Whether it was closed.
    bool closed() const noexcept { return rs_queue_is_closed(get()); }

    // A descriptor that is readable while the queue holds completions, for poll, epoll, kqueue and every event loop;
    // borrowed. Do not write to it and do not close it. Take out until fewer come than were asked for. Also after
    // wake, up to the next poll, and for good after close.
    int fd() const noexcept { return rs_queue_fd(get()); }

    // How many calls are under way or wait to be taken out.
    std::size_t size() const noexcept { return rs_queue_len(get()); }

    // Whether there are none.
    bool empty() const noexcept { return size() == 0; }

    // The handle, for functions of the C library; borrowed.
    rs_queue *get() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return handle_.get(); }
    rs_queue *get() const && = delete;

private:
    template <class Done> struct Handing {
        Done &done;
        std::exception_ptr thrown;
    };

    // Nothing may be thrown through the C library.
    template <class Done> static void hand(void *context, const rs_completion *completion) noexcept {
        Handing<Done> &handing = *static_cast<Handing<Done> *>(context);
#if defined(__cpp_exceptions)
        try {
            handing.done(taken(*completion));
        } catch (...) {
            if (!handing.thrown) handing.thrown = std::current_exception();
        }
#else
        handing.done(Completion(*completion));
#endif
    }

    // Without memory for its error it ends all the same, with one that says so.
    static Completion taken(const rs_completion &completion) {
#if defined(__cpp_exceptions)
        try {
            return Completion(completion);
        } catch (const std::bad_alloc &) {
            return Completion(completion.tag, lacking());
        }
#else
        return Completion(completion);
#endif
    }

    static const Error &lacking() {
        static const Error error(RS_ERR_INDETERMINATE, "there was no memory to tell how the call has ended",
                                 RS_REASON_RESOURCES);
        return error;
    }

    // False: there is no memory for more than there are. Where there are none, that is thrown.
    static bool make_room(std::vector<Completion> &completions, std::size_t more) {
        const auto reserve = [&] { completions.reserve(completions.size() + more); };
        if (completions.empty()) return reserve(), true;
        return detail::has_memory(reserve);
    }

    static std::uint64_t milliseconds(std::chrono::milliseconds timeout) noexcept {
        if (timeout == forever) return RS_FOREVER;
        return timeout.count() < 0 ? 0 : static_cast<std::uint64_t>(timeout.count());
    }

    detail::Handle<rs_queue, rs_queue_free> handle_;
};

inline Result<void> Client::try_submit(const Queue &queue, std::uint64_t tag, const Strings &argv,
                                       const CallOptions &options) const {
    return detail::success_of(options, [&](const rs_call_options *native, rs_error **error) {
        return rs_client_submit(get(), argv.size(), argv.data(), argv.lengths(), native, queue.get(), tag, error);
    });
}

inline Result<std::size_t> Client::try_cancel(const Queue &queue, std::uint64_t tag) const {
    std::size_t count = 0;
    rs_error *error = nullptr;
    if (rs_client_cancel(get(), queue.get(), tag, &count, &error) != RS_OK) return Error(error);
    return count;
}

} // namespace rs

#endif // RS_SCRIPT_QUEUE_HPP
