// rs::Dispatcher: submitted calls that end in a function or a std::future. Coroutines: rs_script/coroutine.hpp.

#ifndef RS_SCRIPT_DISPATCHER_HPP
#define RS_SCRIPT_DISPATCHER_HPP

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include <rs_script/call_options.hpp>
#include <rs_script/client.hpp>
#include <rs_script/detail.hpp>
#include <rs_script/error.hpp>
#include <rs_script/pipeline.hpp>
#include <rs_script/queue.hpp>
#include <rs_script/reply.hpp>
#include <rs_script/script.hpp>
#include <rs_script/strings.hpp>

#if defined(__cpp_impl_coroutine) && defined(__has_include)
#if __has_include(<coroutine>)
#define RS_SCRIPT_HAS_COROUTINES 1
#endif
#endif

namespace rs {

// A call of a Dispatcher, by which it can be cancelled.
struct CallId {
    std::uint64_t tag = 0;
};

// The future of a call, with what it can be cancelled by. It converts to a plain std::future.
template <class Value> class Future : public std::future<Value> {
public:
    Future() noexcept = default;
    Future(std::future<Value> plain, CallId id) noexcept : std::future<Value>(std::move(plain)), id_(id) {}

    // Which call it is; see Dispatcher::cancel.
    CallId id() const noexcept { return id_; }

private:
    CallId id_;
};

namespace detail {

// What is done when a call has ended.
class Ending {
public:
    virtual ~Ending() = default;

    // `is_going`: the Dispatcher goes, and nobody runs it any more.
    virtual void end(Completion completion, bool is_going) = 0;
};

template <class Function> class FunctionEnding final : public Ending {
public:
    explicit FunctionEnding(Function function) : function_(std::move(function)) {}
    void end(Completion completion, bool is_going) override {
        if (is_going) return;
        if constexpr (std::is_invocable_v<Function &, Result<Reply>>) function_(std::move(completion).try_reply());
        else function_(std::move(completion));
    }

private:
    Function function_;
};

template <class Value> class FutureEnding final : public Ending {
public:
    FutureEnding() = default;

    // Of a call that was not accepted: without exceptions a promise may not be broken.
    ~FutureEnding() override {
        if constexpr (!std::is_same_v<Value, Reply>) {
            if (!has_ended_)
                promise_.set_value(Error(RS_ERR_CLOSED, "the call was not accepted", RS_REASON_CLOSED, true));
        }
    }

    std::future<Value> future() { return promise_.get_future(); }
    void end(Completion completion, bool) override {
        has_ended_ = true;
        Result<Reply> reply = std::move(completion).try_reply();
        if constexpr (std::is_same_v<Value, Reply>) {
#if defined(__cpp_exceptions)
            if (!reply) return promise_.set_exception(std::make_exception_ptr(std::move(reply).error()));
#endif
            promise_.set_value(std::move(reply).value());
        } else {
            promise_.set_value(std::move(reply));
        }
    }

private:
    std::promise<Value> promise_;
    bool has_ended_ = false;
};

// What may be called when a call has ended; a generic lambda is given a Result.
template <class Function>
inline constexpr bool is_done =
    std::disjunction_v<std::is_invocable<Function &, Result<Reply>>, std::is_invocable<Function &, Completion>>;

template <class Function> using if_done = std::enable_if_t<is_done<Function>, int>;

} // namespace detail

#ifdef RS_SCRIPT_HAS_COROUTINES
class Awaited;
class TryAwaited;
#endif

// Ends submitted calls in functions, futures and coroutines. What ends them is said when it is made:
//
// - Driver::caller: run_once and run do, on the thread that calls these. (A client's thread reads the replies.)
// - Driver::own_thread: a thread of the Dispatcher's own does.
// - Driver::event_loop: as Driver::caller, and no other thread works for it, not even a client's: put fd() into the
//   loop, and call run_once(0ms) when it is readable. As long as nobody does, nothing goes on, so do not wait for a
//   future on that thread.
//
// Calls are submitted by any thread. call, command and exec take a function behind all else, which is called with a
// Result<Reply>, or with a Completion, which also has what a broken pipeline has got; without one they give a Future.
// All throw, and have taken nothing, where the call is not accepted: RS_ERR_QUEUE_FULL, or what is wrong with the
// arguments. Their twins named try_ return that; their futures give a Result<Reply> and throw nothing.
class Dispatcher {
public:
    enum class Driver { caller, own_thread, event_loop };

    // For up to `capacity` calls that are under way; above 0.
    explicit Dispatcher(std::size_t capacity, Driver driver = Driver::caller)
        : Dispatcher(new_queue(capacity, driver).value()) {
        if (driver == Driver::own_thread) start_thread().value();
    }
    static Result<std::unique_ptr<Dispatcher>> try_new(std::size_t capacity, Driver driver = Driver::caller) {
        Result<Queue> queue = new_queue(capacity, driver);
        if (!queue) return std::move(queue).error();
        std::unique_ptr<Dispatcher> made(new Dispatcher(*std::move(queue)));
        if (driver == Driver::own_thread) {
            if (Result<void> started = made->start_thread(); !started) return std::move(started).error();
        }
        return made;
    }

    Dispatcher(const Dispatcher &) = delete;
    Dispatcher &operator=(const Dispatcher &) = delete;

    // Lets go of what has not ended: see ENDING in rs_script_async.hpp. Not in a function or coroutine that it runs.
    //
    // In a child of fork() the thread is not there, and what is under way is its parent's: nobody is told of it.
    ~Dispatcher() {
        if (is_forked()) {
            ::new (static_cast<void *>(&thread_)) std::thread; // forgotten: it cannot be joined
            // Whoever held the lock is not there either, and what it protects may be half-changed.
            if (calls_->mutex.try_lock()) calls_->mutex.unlock();
            else (void)calls_.release();
            return;
        }
        queue_.close();
        if (thread_.joinable()) thread_.join();
        for (;;) {
            Taken ended;
            const Result<std::size_t> count = take_out(ended, Taken::most, std::chrono::milliseconds(0));
            if (!count || *count == 0) break;
            while (ended.next < ended.count) {
                Completion completion = ended.one();
                let_go(take(completion.tag()), std::move(completion));
            }
        }
        for (;;) {
            std::unique_ptr<detail::Ending> left = take_any();
            if (!left) break;
            let_go(std::move(left),
                   Completion(0, Error(RS_ERR_INDETERMINATE,
                                       "the Dispatcher went before the call had ended; the server may execute it",
                                       RS_REASON_CLOSED)));
        }
    }

    // Calls a script; `multiply.on(client)` for another client than its own.
    template <class Done, detail::if_done<Done> = 0>
    CallId call(const ScriptOn &script, const Strings &keys, const Strings &args, Done done) {
        return call(script, keys, args, CallOptions(), std::move(done));
    }
    template <class Done, detail::if_done<Done> = 0> CallId call(const ScriptOn &script, const Strings &keys,
                                                                 const Strings &args, const CallOptions &options,
                                                                 Done done) {
        return try_call(script, keys, args, options, std::move(done)).value();
    }
    Future<Reply> call(const ScriptOn &script, const Strings &keys, const Strings &args,
                       const CallOptions &options = {}) {
        return with_future<Reply>(
                   [&](std::uint64_t tag) { return script.try_submit(queue_, tag, keys, args, options); })
            .value();
    }
    template <class Done, detail::if_done<Done> = 0>
    Result<CallId> try_call(const ScriptOn &script, const Strings &keys, const Strings &args, Done done) {
        return try_call(script, keys, args, CallOptions(), std::move(done));
    }
    template <class Done, detail::if_done<Done> = 0> Result<CallId> try_call(const ScriptOn &script,
                                                                             const Strings &keys, const Strings &args,
                                                                             const CallOptions &options, Done done) {
        return with_function(std::move(done),
                             [&](std::uint64_t tag) { return script.try_submit(queue_, tag, keys, args, options); });
    }
    Result<Future<Result<Reply>>> try_call(const ScriptOn &script, const Strings &keys, const Strings &args,
                                           const CallOptions &options = {}) {
        return with_future<Result<Reply>>(
            [&](std::uint64_t tag) { return script.try_submit(queue_, tag, keys, args, options); });
    }

    // Sends a command.
    template <class Done, detail::if_done<Done> = 0>
    CallId command(const Client &client, const Strings &argv, Done done) {
        return command(client, argv, CallOptions(), std::move(done));
    }
    template <class Done, detail::if_done<Done> = 0>
    CallId command(const Client &client, const Strings &argv, const CallOptions &options, Done done) {
        return try_command(client, argv, options, std::move(done)).value();
    }
    Future<Reply> command(const Client &client, const Strings &argv, const CallOptions &options = {}) {
        return with_future<Reply>([&](std::uint64_t tag) { return client.try_submit(queue_, tag, argv, options); })
            .value();
    }
    template <class Done, detail::if_done<Done> = 0>
    Result<CallId> try_command(const Client &client, const Strings &argv, Done done) {
        return try_command(client, argv, CallOptions(), std::move(done));
    }
    template <class Done, detail::if_done<Done> = 0>
    Result<CallId> try_command(const Client &client, const Strings &argv, const CallOptions &options, Done done) {
        return with_function(std::move(done),
                             [&](std::uint64_t tag) { return client.try_submit(queue_, tag, argv, options); });
    }
    Result<Future<Result<Reply>>> try_command(const Client &client, const Strings &argv,
                                              const CallOptions &options = {}) {
        return with_future<Result<Reply>>(
            [&](std::uint64_t tag) { return client.try_submit(queue_, tag, argv, options); });
    }

    // Executes a pipeline or transaction, which is empty once it is accepted.
    template <class Done, detail::if_done<Done> = 0> CallId exec(Pipeline &pipeline, Done done) {
        return exec(pipeline, CallOptions(), std::move(done));
    }
    template <class Done, detail::if_done<Done> = 0>
    CallId exec(Pipeline &pipeline, const CallOptions &options, Done done) {
        return try_exec(pipeline, options, std::move(done)).value();
    }
    Future<Reply> exec(Pipeline &pipeline, const CallOptions &options = {}) {
        return with_future<Reply>([&](std::uint64_t tag) { return pipeline.try_submit(queue_, tag, options); })
            .value();
    }
    template <class Done, detail::if_done<Done> = 0> Result<CallId> try_exec(Pipeline &pipeline, Done done) {
        return try_exec(pipeline, CallOptions(), std::move(done));
    }
    template <class Done, detail::if_done<Done> = 0>
    Result<CallId> try_exec(Pipeline &pipeline, const CallOptions &options, Done done) {
        return with_function(std::move(done),
                             [&](std::uint64_t tag) { return pipeline.try_submit(queue_, tag, options); });
    }
    Result<Future<Result<Reply>>> try_exec(Pipeline &pipeline, const CallOptions &options = {}) {
        return with_future<Result<Reply>>(
            [&](std::uint64_t tag) { return pipeline.try_submit(queue_, tag, options); });
    }

#ifdef RS_SCRIPT_HAS_COROUTINES
    // Submits at once; a coroutine waits for the reply with co_await, which gives it or throws the Error. Throws here
    // where the call is not accepted.
    Awaited awaited(const ScriptOn &script, const Strings &keys, const Strings &args, const CallOptions &options = {});
    Awaited awaited(const Client &client, const Strings &argv, const CallOptions &options = {});
    Awaited awaited(Pipeline &pipeline, const CallOptions &options = {});

    // The same, and co_await gives a Result<Reply>, also where the call was not accepted.
    TryAwaited try_awaited(const ScriptOn &script, const Strings &keys, const Strings &args,
                           const CallOptions &options = {});
    TryAwaited try_awaited(const Client &client, const Strings &argv, const CallOptions &options = {});
    TryAwaited try_awaited(Pipeline &pipeline, const CallOptions &options = {});
#endif

    // Ends a call that was submitted to this client, or to a handle of the same, if it is under way still. It ends as
    // any other, in its function, future or coroutine: with RS_ERR_CANCELLED where nothing was sent, with
    // RS_ERR_INDETERMINATE where the server may have executed it or may yet do so, or with the reply where that was on
    // its way already. False: it has ended.
    bool cancel(const Client &client, CallId id) { return try_cancel(client, id).value(); }
    Result<bool> try_cancel(const Client &client, CallId id) {
        return client.try_cancel(queue_, id.tag).transform([](std::size_t count) { return count > 0; });
    }

    // Hands over what has ended, up to `max` calls, having waited for the first: not at all with 0ms. How many there
    // were.
    std::size_t run_once(std::chrono::milliseconds timeout = forever, std::size_t max = 64) {
        return try_run_once(timeout, max).value();
    }
    Result<std::size_t> try_run_once(std::chrono::milliseconds timeout = forever, std::size_t max = 64) {
        // Threads in run() that wait for calls which this one has handed over, also where one of them has thrown.
        struct LettingGo {
            const Dispatcher &dispatcher;
            ~LettingGo() {
                if (dispatcher.running_ > 0 && dispatcher.size() == 0) dispatcher.queue_.wake();
            }
        } letting_go{*this};
        return hand_over(timeout, max);
    }

    // Hands over until no call is under way, or close was called. Any number of threads may run.
    void run() { try_run().value(); }
    Result<void> try_run() {
        // One that leaves has the next one look, also where a function has thrown.
        struct Running {
            Dispatcher &dispatcher;
            explicit Running(Dispatcher &runs) noexcept : dispatcher(runs) { ++dispatcher.running_; }
            ~Running() {
                if (--dispatcher.running_ > 0) dispatcher.queue_.wake();
            }
        } running(*this);
        while (size() > 0 && !queue_.closed()) {
            if (Result<std::size_t> count = hand_over(forever, Taken::most); !count) return std::move(count).error();
        }
        return {};
    }

    // Accepts nothing more (RS_ERR_CLOSED); run and run_once return.
    void close() noexcept { queue_.close(); }

    // How many calls are under way or wait to be handed over.
    std::size_t size() const noexcept { return queue_.size(); }

    // Readable while something waits to be handed over, or, with Driver::event_loop, to be done: then call
    // run_once(0ms). Borrowed.
    int fd() const noexcept { return queue_.fd(); }

private:
#ifdef RS_SCRIPT_HAS_COROUTINES
    template <class Awaiting, class Submit> Awaiting awaiting(Submit submit);
#endif

    explicit Dispatcher(Queue queue) : queue_(std::move(queue)) {}

    static Result<Queue> new_queue(std::size_t capacity, Driver driver) {
        return Queue::try_new(capacity, driver == Driver::event_loop ? RS_QUEUE_NO_THREAD : 0);
    }

    // What leaves a function there has nobody to go to: it ends the program.
    Result<void> start_thread() {
        const auto work = [this]() noexcept {
            while (!queue_.closed()) run_once();
        };
#if defined(__cpp_exceptions)
        try {
            thread_ = std::thread(work);
        } catch (const std::system_error &error) {
            return Error(RS_ERR_RESOURCES, std::string("no thread for the Dispatcher: ") + error.what(),
                         RS_REASON_RESOURCES, true);
        }
#else
        thread_ = std::thread(work);
#endif
        return {};
    }

    template <class Done, class Submit> Result<CallId> with_function(Done done, Submit submit) {
        return start(std::make_unique<detail::FunctionEnding<Done>>(std::move(done)), submit);
    }

    template <class Value, class Submit> Result<Future<Value>> with_future(Submit submit) {
        auto ending = std::make_unique<detail::FutureEnding<Value>>();
        std::future<Value> future = ending->future();
        Result<CallId> id = start(std::move(ending), submit);
        if (!id) return std::move(id).error();
        return Future<Value>(std::move(future), *id);
    }

    // Whoever takes the completion out must find the ending, so it is there before the call is submitted.
    template <class Submit> Result<CallId> start(std::unique_ptr<detail::Ending> ending, Submit submit) {
        // Its parent's threads may have held the lock when a child was forked.
        if (is_forked())
            return Error(RS_ERR_FORKED,
                         "the Dispatcher was made before fork(), by the parent process; nothing was sent",
                         RS_REASON_ARGUMENT, true);
        Placed placed{*this, put(std::move(ending))};
        Result<void> submitted = submit(placed.tag);
        if (!submitted) return std::move(submitted).error();
        placed.is_accepted = true;
        return CallId{placed.tag};
    }

    // Takes the ending of a call that was not accepted back, also where there was no memory to say why.
    struct Placed {
        Dispatcher &dispatcher;
        std::uint64_t tag;
        bool is_accepted = false;

        ~Placed() {
            if (!is_accepted) dispatcher.take(tag);
        }
    };

    bool is_forked() const noexcept { return ::getpid() != process_; }

    std::uint64_t put(std::unique_ptr<detail::Ending> ending) {
        const std::lock_guard<std::mutex> lock(calls_->mutex);
        const std::uint64_t tag = ++calls_->last_tag;
        calls_->endings.emplace(tag, std::move(ending));
        return tag;
    }

    std::unique_ptr<detail::Ending> take(std::uint64_t tag) {
        const std::lock_guard<std::mutex> lock(calls_->mutex);
        return take_at(calls_->endings.find(tag));
    }

    std::unique_ptr<detail::Ending> take_any() {
        const std::lock_guard<std::mutex> lock(calls_->mutex);
        return take_at(calls_->endings.begin());
    }

    using Endings = std::unordered_map<std::uint64_t, std::unique_ptr<detail::Ending>>;

    std::unique_ptr<detail::Ending> take_at(Endings::iterator found) {
        if (found == calls_->endings.end()) return nullptr;
        std::unique_ptr<detail::Ending> ending = std::move(found->second);
        calls_->endings.erase(found);
        return ending;
    }

    // Out of a destructor nothing is thrown: std::terminate.
    static void let_go(std::unique_ptr<detail::Ending> ending, Completion completion) noexcept {
        if (ending) ending->end(std::move(completion), true);
    }

    // Completions on their way, in memory that is there whatever becomes of the rest: a thread that has nobody to throw
    // to must not end the program for want of some.
    struct Taken {
        static constexpr std::size_t most = 64;
        std::array<std::optional<Completion>, most> completions;
        std::size_t count = 0;
        std::size_t next = 0;

        Completion one() { return *std::move(completions[next++]); }
    };

    Result<std::size_t> take_out(Taken &taken, std::size_t max, std::chrono::milliseconds timeout) const {
        return queue_.try_dispatch(max, timeout, [&](Completion done) {
            taken.completions[taken.count++].emplace(std::move(done));
        });
    }

    // Hands the others over although one has thrown.
    struct HandingOver {
        Dispatcher &dispatcher;
        Taken completions;

        void one() {
            Completion completion = completions.one();
            if (const std::unique_ptr<detail::Ending> ending = dispatcher.take(completion.tag()))
                ending->end(std::move(completion), false);
        }

        ~HandingOver() {
#if defined(__cpp_exceptions)
            while (completions.next < completions.count) {
                try {
                    one();
                } catch (...) { // the first one is on its way out
                }
            }
#endif
        }
    };

    Result<std::size_t> hand_over(std::chrono::milliseconds timeout, std::size_t max) {
        for (std::size_t handed = 0;;) {
            HandingOver taken{*this, {}};
            const std::size_t room = std::min(max - handed, Taken::most);
            Result<std::size_t> count =
                take_out(taken.completions, room, handed > 0 ? std::chrono::milliseconds(0) : timeout);
            if (!count && handed == 0) return std::move(count).error();
            while (taken.completions.next < taken.completions.count) taken.one();
            handed += count ? *count : 0;
            if (!count || *count < room || handed == max) return handed;
        }
    }

    // What has not ended, by its tag.
    struct Calls {
        std::mutex mutex;
        Endings endings;
        std::uint64_t last_tag = 0;
    };

    std::unique_ptr<Calls> calls_ = std::make_unique<Calls>();
    Queue queue_;
    std::atomic<std::size_t> running_{0}; // threads in run()
    std::thread thread_;
    pid_t process_ = ::getpid();
};

} // namespace rs

#endif // RS_SCRIPT_DISPATCHER_HPP
