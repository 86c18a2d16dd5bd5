// Calls that a coroutine waits for with co_await: what Dispatcher::awaited and try_awaited give, from C++20 on.

#ifndef RS_SCRIPT_COROUTINE_HPP
#define RS_SCRIPT_COROUTINE_HPP

#include <rs_script/dispatcher.hpp>

#ifdef RS_SCRIPT_HAS_COROUTINES

#include <coroutine>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace rs {
namespace detail {

// Where the one who ends a call and the one who waits for it meet, in either order.
class Rendezvous {
public:
    bool has_ended() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return completion_.has_value();
    }

    // False: the call has ended meanwhile.
    bool wait(std::coroutine_handle<> coroutine) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (completion_) return false;
        waiting_ = coroutine;
        return true;
    }

    // The coroutine goes while it waits.
    void leave() {
        const std::lock_guard<std::mutex> lock(mutex_);
        waiting_ = nullptr;
    }

    // Whoever waits is to go on now.
    std::coroutine_handle<> end(Completion completion) {
        const std::lock_guard<std::mutex> lock(mutex_);
        completion_.emplace(std::move(completion));
        return std::exchange(waiting_, nullptr);
    }

    // There is one: only whoever has waited asks.
    Result<Reply> reply() { return std::move(*completion_).try_reply(); }

private:
    std::mutex mutex_;
    std::optional<Completion> completion_;
    std::coroutine_handle<> waiting_;
};

class CoroutineEnding final : public Ending {
public:
    explicit CoroutineEnding(std::shared_ptr<Rendezvous> meeting) noexcept : meeting_(std::move(meeting)) {}
    void end(Completion completion, bool) override {
        if (const std::coroutine_handle<> coroutine = meeting_->end(std::move(completion))) coroutine.resume();
    }

private:
    std::shared_ptr<Rendezvous> meeting_;
};

} // namespace detail

// A call under way, to be waited for once, by one coroutine: `rs::Reply reply = co_await call;`. Who does not wait
// learns nothing; the call goes on. It is not moved while a coroutine waits for it. A coroutine that is destroyed
// while it waits must be so where it would go on otherwise: on the thread that runs the Dispatcher.
class [[nodiscard]] TryAwaited {
public:
    TryAwaited(TryAwaited &&other) noexcept = default;
    TryAwaited &operator=(TryAwaited &&other) noexcept {
        std::swap(meeting_, other.meeting_);
        std::swap(id_, other.id_);
        return *this;
    }
    ~TryAwaited() {
        if (meeting_) meeting_->leave();
    }

    // Which call it is; see Dispatcher::cancel.
    CallId id() const noexcept { return id_; }

    // What co_await asks for.
    bool await_ready() const { return meeting_->has_ended(); }
    bool await_suspend(std::coroutine_handle<> coroutine) {
        const std::shared_ptr<detail::Rendezvous> meeting = meeting_; // this may be gone when it returns
        return meeting->wait(coroutine);
    }
    Result<Reply> await_resume() { return meeting_->reply(); }

private:
    friend class Dispatcher;
    TryAwaited(std::shared_ptr<detail::Rendezvous> meeting, CallId id) noexcept
        : meeting_(std::move(meeting)), id_(id) {}

    std::shared_ptr<detail::Rendezvous> meeting_;
    CallId id_;
};

// The same, where co_await throws the Error.
class [[nodiscard]] Awaited : public TryAwaited {
public:
    Reply await_resume() { return TryAwaited::await_resume().value(); }

private:
    friend class Dispatcher;
    explicit Awaited(TryAwaited call) noexcept : TryAwaited(std::move(call)) {}
};

template <class Awaiting, class Submit> Awaiting Dispatcher::awaiting(Submit submit) {
    auto meeting = std::make_shared<detail::Rendezvous>();
    Result<CallId> id = start(std::make_unique<detail::CoroutineEnding>(meeting), submit);
    if (id) return Awaiting(TryAwaited(std::move(meeting), *id));
    if constexpr (std::is_same_v<Awaiting, Awaited>) detail::raise(id.error());
    meeting->end(Completion(0, std::move(id).error()));
    return Awaiting(TryAwaited(std::move(meeting), CallId()));
}

inline Awaited Dispatcher::awaited(const ScriptOn &script, const Strings &keys, const Strings &args,
                                   const CallOptions &options) {
    return awaiting<Awaited>([&](std::uint64_t tag) { return script.try_submit(queue_, tag, keys, args, options); });
}

inline Awaited Dispatcher::awaited(const Client &client, const Strings &argv, const CallOptions &options) {
    return awaiting<Awaited>([&](std::uint64_t tag) { return client.try_submit(queue_, tag, argv, options); });
}

inline Awaited Dispatcher::awaited(Pipeline &pipeline, const CallOptions &options) {
    return awaiting<Awaited>([&](std::uint64_t tag) { return pipeline.try_submit(queue_, tag, options); });
}

inline TryAwaited Dispatcher::try_awaited(const ScriptOn &script, const Strings &keys, const Strings &args,
                                          const CallOptions &options) {
    return awaiting<TryAwaited>(
        [&](std::uint64_t tag) { return script.try_submit(queue_, tag, keys, args, options); });
}

inline TryAwaited Dispatcher::try_awaited(const Client &client, const Strings &argv, const CallOptions &options) {
    return awaiting<TryAwaited>([&](std::uint64_t tag) { return client.try_submit(queue_, tag, argv, options); });
}

inline TryAwaited Dispatcher::try_awaited(Pipeline &pipeline, const CallOptions &options) {
    return awaiting<TryAwaited>([&](std::uint64_t tag) { return pipeline.try_submit(queue_, tag, options); });
}

} // namespace rs

#endif // RS_SCRIPT_HAS_COROUTINES
#endif // RS_SCRIPT_COROUTINE_HPP
