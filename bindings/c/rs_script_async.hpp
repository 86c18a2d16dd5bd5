// rs_script_async: calls that nobody waits for, ended by a function, a std::future or, from C++20 on, a coroutine.
//
// EXAMPLE   Two calls at once.
//
//     rs::Dispatcher dispatcher(1000);
//     std::future<rs::Reply> first = dispatcher.call(multiply, {"foo"}, {5});
//     dispatcher.call(multiply, {"bar"}, {5}, [](rs::Result<rs::Reply> reply) { ... });
//     while (dispatcher.size() > 0) dispatcher.run_once(-1);
//     std::cout << first.get().integer() << '\n';
//
// In a coroutine, whatever its type is, in two lines (GCC 12 refuses a list in braces behind co_await):
//
//     auto product = dispatcher.awaited(multiply, {"foo"}, {5});
//     std::cout << (co_await product).integer() << '\n';
//
// WHO CALLS Functions and coroutines go on inside run_once and run, on the thread that calls these; a future may be waited for on any other
//           thread meanwhile. There is no thread but the one of the client.
// THROWING  What a function throws leaves run_once, after all completions that it took have been handed over; if several throw, the first.
// ENDING    Every call that was accepted ends once. When a Dispatcher goes, calls under way are let go of: functions are not called,
//           coroutines are destroyed, futures throw std::future_error (broken_promise). Nothing else may use it by then.
// THREADS   Any number of threads may submit and run.

#ifndef RS_SCRIPT_ASYNC_HPP
#define RS_SCRIPT_ASYNC_HPP

#include <rs_script.hpp>

#include <future>
#include <memory>
#include <mutex>
#include <unordered_map>

#if defined(__cpp_impl_coroutine) && defined(__has_include)
#if __has_include(<coroutine>)
#include <coroutine>
#define RS_SCRIPT_HAS_COROUTINES 1
#endif
#endif

namespace rs {

namespace detail {

// What is done when a call has ended.
class Ending {
public:
    virtual ~Ending() = default;
    virtual void end(Completion completion) = 0;
};

inline Result<Reply> outcome(Completion completion) {
    if (completion.error()) return *completion.error();
    return std::move(completion).reply();
}

template <class Function> class FunctionEnding final : public Ending {
public:
    explicit FunctionEnding(Function function) : function_(std::move(function)) {}
    void end(Completion completion) override {
        if constexpr (std::is_invocable_v<Function &, Completion>)
            function_(std::move(completion));
        else
            function_(outcome(std::move(completion)));
    }

private:
    Function function_;
};

} // namespace detail

class Dispatcher {
public:
    // For up to `capacity` calls that are under way; above 0.
    explicit Dispatcher(std::size_t capacity) : queue_(capacity) {}

    Dispatcher(const Dispatcher &) = delete;
    Dispatcher &operator=(const Dispatcher &) = delete;

    // Submits a call of a script. `done`: a function that takes a Result<Reply>, or a Completion, which also has what a broken pipeline
    // has got. Throws, and has taken nothing, where the call is not accepted: RS_ERR_QUEUE_FULL, or what is wrong with the arguments.
    template <class Done> void call(const Script &script, const Strings &keys, const Strings &args, Done done) {
        start(function_of(std::move(done)), [&](std::uint64_t tag) { return script.try_submit(queue_, tag, keys, args); }).value();
    }
    std::future<Reply> call(const Script &script, const Strings &keys, const Strings &args) {
        return with_future([&](std::uint64_t tag) { return script.try_submit(queue_, tag, keys, args); });
    }

    // The same on another client than the one that the script was registered with.
    template <class Done>
    void call(const Script &script, const Client &client, const Strings &keys, const Strings &args, Done done) {
        start(function_of(std::move(done)), [&](std::uint64_t tag) {
            return script.try_submit(client, queue_, tag, keys, args);
        }).value();
    }
    std::future<Reply> call(const Script &script, const Client &client, const Strings &keys, const Strings &args) {
        return with_future([&](std::uint64_t tag) { return script.try_submit(client, queue_, tag, keys, args); });
    }

    // Submits a command.
    template <class Done> void command(const Client &client, const Strings &argv, Done done) {
        start(function_of(std::move(done)), [&](std::uint64_t tag) { return client.try_submit(queue_, tag, argv); }).value();
    }
    std::future<Reply> command(const Client &client, const Strings &argv) {
        return with_future([&](std::uint64_t tag) { return client.try_submit(queue_, tag, argv); });
    }

    // Submits a pipeline or transaction, which is empty then.
    template <class Done> void exec(Pipeline &pipeline, Done done) {
        start(function_of(std::move(done)), [&](std::uint64_t tag) { return pipeline.try_submit(queue_, tag); }).value();
    }
    std::future<Reply> exec(Pipeline &pipeline) {
        return with_future([&](std::uint64_t tag) { return pipeline.try_submit(queue_, tag); });
    }

    // Hands over what has ended, up to `max` calls, having waited for the first: 0 does not wait, below 0 for ever. How many there were.
    std::size_t run_once(std::int64_t timeout_ms, std::size_t max = 64) {
        std::vector<Completion> completions = queue_.poll(max, timeout_ms);
        const std::size_t count = completions.size();
        HandingOver rest{*this, completions, 0};
        while (rest.next < count) rest.one();
        return count;
    }

    // How many calls are under way or wait to be handed over.
    std::size_t size() const noexcept { return queue_.size(); }

    // Readable while something waits to be handed over, for an event loop: then call run_once(0). Borrowed.
    int fd() const noexcept { return queue_.fd(); }

#ifdef RS_SCRIPT_HAS_COROUTINES
    class Awaited;

    // Submits a call; a coroutine waits for its reply with co_await, where an Error is thrown that the call ended with. Throws here where the
    // call is not accepted.
    Awaited awaited(const Script &script, const Strings &keys, const Strings &args);
#endif

private:
    template <class Done> static std::unique_ptr<detail::Ending> function_of(Done done) {
        return std::make_unique<detail::FunctionEnding<Done>>(std::move(done));
    }

    template <class Submit> std::future<Reply> with_future(Submit submit) {
        std::promise<Reply> promise;
        std::future<Reply> future = promise.get_future();
        auto keep = [promise = std::move(promise)](Result<Reply> reply) mutable {
            if (reply)
                promise.set_value(std::move(*reply));
            else
                promise.set_exception(std::make_exception_ptr(reply.error()));
        };
        start(function_of(std::move(keep)), submit).value();
        return future;
    }

    // Whoever takes the completion out must find the ending, so it is there before the call is submitted.
    template <class Submit> Result<void> start(std::unique_ptr<detail::Ending> ending, Submit submit) {
        const std::uint64_t tag = put(std::move(ending));
        Result<void> submitted = submit(tag);
        if (!submitted) take(tag);
        return submitted;
    }

    std::uint64_t put(std::unique_ptr<detail::Ending> ending) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const std::uint64_t tag = ++last_tag_;
        endings_.emplace(tag, std::move(ending));
        return tag;
    }

    std::unique_ptr<detail::Ending> take(std::uint64_t tag) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto found = endings_.find(tag);
        if (found == endings_.end()) return nullptr;
        std::unique_ptr<detail::Ending> ending = std::move(found->second);
        endings_.erase(found);
        return ending;
    }

    // Hands the others over although one has thrown.
    struct HandingOver {
        Dispatcher &dispatcher;
        std::vector<Completion> &completions;
        std::size_t next;

        void one() {
            Completion completion = std::move(completions[next++]);
            if (const std::unique_ptr<detail::Ending> ending = dispatcher.take(completion.tag())) ending->end(std::move(completion));
        }

        ~HandingOver() {
#if defined(__cpp_exceptions)
            while (next < completions.size()) {
                try {
                    one();
                } catch (...) { // the first one is on its way out
                }
            }
#endif
        }
    };

    std::mutex mutex_;
    std::unordered_map<std::uint64_t, std::unique_ptr<detail::Ending>> endings_;
    std::uint64_t last_tag_ = 0;
    Queue queue_; // goes first: nothing ends in it any more when the endings go
};

#ifdef RS_SCRIPT_HAS_COROUTINES
// A call under way, to be waited for once.
class [[nodiscard]] Dispatcher::Awaited {
public:
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> coroutine) { return state_->wait(coroutine); }
    Reply await_resume() { return std::move(*state_->reply).value(); }

private:
    friend class Dispatcher;

    struct State {
        std::mutex mutex;
        std::optional<Result<Reply>> reply;
        std::coroutine_handle<> waiting;

        // False: the call has ended meanwhile.
        bool wait(std::coroutine_handle<> coroutine) {
            const std::lock_guard<std::mutex> lock(mutex);
            if (reply) return false;
            waiting = coroutine;
            return true;
        }

        std::coroutine_handle<> end(Result<Reply> with) {
            const std::lock_guard<std::mutex> lock(mutex);
            reply.emplace(std::move(with));
            return std::exchange(waiting, nullptr);
        }
    };

    class Resuming final : public detail::Ending {
    public:
        explicit Resuming(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
        ~Resuming() override {
            if (!state_) return;
            // The dispatcher goes. Who does not wait yet is told when it does.
            const std::shared_ptr<State> state = std::move(state_);
            if (auto coroutine = state->end(Error(RS_ERR_CLOSED, "the Dispatcher went before the call had ended"))) coroutine.destroy();
        }
        void end(Completion completion) override {
            const std::shared_ptr<State> state = std::move(state_);
            if (auto coroutine = state->end(detail::outcome(std::move(completion)))) coroutine.resume();
        }

    private:
        std::shared_ptr<State> state_;
    };

    explicit Awaited(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

    std::shared_ptr<State> state_;
};

inline Dispatcher::Awaited Dispatcher::awaited(const Script &script, const Strings &keys, const Strings &args) {
    auto state = std::make_shared<Awaited::State>();
    start(std::make_unique<Awaited::Resuming>(state), [&](std::uint64_t tag) {
        return script.try_submit(queue_, tag, keys, args);
    }).value();
    return Awaited(std::move(state));
}
#endif

} // namespace rs

#endif // RS_SCRIPT_ASYNC_HPP
