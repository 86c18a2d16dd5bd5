// Submitted calls that coroutines wait for: every driver, errors, deadlines, cancelling, and how coroutines and
// Dispatchers go.
#include <rs_script_async.hpp>

#include <poll.h>
#include <signal.h>

#include <atomic>
#include <thread>

#include "support/check.h"
#include "support/server.h"
#include "thrown_by.hpp"

using namespace std::chrono_literals;
using Driver = rs::Dispatcher::Driver;

static server *redis;
static constexpr std::string_view multiply_lua = "return redis.call('GET', KEYS[1]) * ARGV[1]";

// A coroutine that starts at once and that another one can wait for. It owns its frame, as most such types do.
class Task {
public:
    struct promise_type {
        std::coroutine_handle<> waiting = std::noop_coroutine();
        std::exception_ptr thrown;

        Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
        std::suspend_never initial_suspend() noexcept { return {}; }
        struct Final {
            bool await_ready() noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> ended) noexcept {
                return ended.promise().waiting;
            }
            void await_resume() noexcept {}
        };
        Final final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { thrown = std::current_exception(); }
    };

    explicit Task(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
    Task(Task &&other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    Task &operator=(Task &&) = delete;
    ~Task() {
        if (frame_) frame_.destroy();
    }

    bool done() const { return frame_.done(); }
    void rethrow() const {
        if (frame_.promise().thrown) std::rethrow_exception(frame_.promise().thrown);
    }

    bool await_ready() const { return frame_.done(); }
    void await_suspend(std::coroutine_handle<> waiting) { frame_.promise().waiting = waiting; }
    void await_resume() const { rethrow(); }

private:
    std::coroutine_handle<promise_type> frame_;
};

static Task multiplied(rs::Dispatcher &dispatcher, const rs::Script &multiply, std::int64_t &sum) {
    for (int factor : {5, 6}) {
        rs::Reply product = co_await dispatcher.awaited(multiply, rs::list("foo"), rs::list(factor));
        sum += product.integer();
    }
    // Two at once, awaited the other way round; lists in braces in a line of their own.
    auto first = dispatcher.awaited(multiply, {"foo"}, {7});
    auto second = dispatcher.awaited(multiply, {"foo"}, {8});
    sum += (co_await second).integer();
    sum += (co_await first).integer();
}

static Task everything(rs::Dispatcher &dispatcher, const rs::Client &client, const rs::Script &multiply,
                       std::atomic<bool> &over) {
    std::int64_t sum = 0;
    co_await multiplied(dispatcher, multiply, sum); // a coroutine in a coroutine
    CHECK_INT(sum, 52);
    CHECK((co_await dispatcher.awaited(client, rs::list("PING"))).as<std::string>() == "PONG");
    rs::Pipeline pipeline = client.pipeline();
    pipeline.command({"SET", "foo", 2}).script(multiply, {"foo"}, {5});
    CHECK_INT((co_await dispatcher.awaited(pipeline))[1].integer(), 10);
    bool is_caught = false;
    try {
        co_await dispatcher.awaited(multiply, rs::list("foo"), rs::list("x"));
    } catch (const rs::Error &error) {
        is_caught = error.status() == RS_ERR_SERVER;
    }
    CHECK(is_caught);
    const rs::Result<rs::Reply> failed =
        co_await dispatcher.try_awaited(multiply.on(client), rs::list("foo"), rs::list("x"));
    CHECK(!failed && failed.error().status() == RS_ERR_SERVER);
    // Not accepted.
    const rs::Result<rs::Reply> refused = co_await dispatcher.try_awaited(client, rs::list("SUBSCRIBE", "x"));
    CHECK(!refused && refused.error().status() == RS_ERR_COMMAND_REFUSED);
    CHECK_INT(thrown_by([&] {
                  (void)dispatcher.awaited(client, {"SUBSCRIBE", "x"});
              }).status(),
              RS_ERR_COMMAND_REFUSED);
    over = true;
}

static void drivers() {
    rs::Client client(server_url(redis));
    rs::Script multiply(client, multiply_lua);
    client.command({"SET", "foo", 2});
    for (Driver driver : {Driver::caller, Driver::own_thread, Driver::event_loop}) {
        std::optional<rs::Dispatcher> dispatcher(std::in_place, 10, driver);
        std::atomic<bool> over{false};
        const Task task = everything(*dispatcher, client, multiply, over);
        while (!over) {
            if (driver == Driver::caller) dispatcher->run_once();
            if (driver == Driver::own_thread) pause_ms(1);
            if (driver == Driver::event_loop) {
                pollfd fd{dispatcher->fd(), POLLIN, 0};
                CHECK_INT(::poll(&fd, 1, 60000), 1);
                dispatcher->run_once(0ms);
            }
        }
        dispatcher.reset(); // its thread has ended then
        CHECK(task.done());
        task.rethrow();
    }
}

static Task counting(rs::Dispatcher &dispatcher, const rs::Client &client, int rounds, std::atomic<int> &ended) {
    for (int i = 0; i < rounds; ++i)
        CHECK_INT((co_await dispatcher.awaited(client, rs::list("ECHO", i))).as<int>(), i);
    ++ended;
}

// Coroutines that go on on whichever of several threads.
static void many() {
    rs::Client client(server_url(redis));
    rs::Dispatcher dispatcher(1000);
    std::atomic<int> ended{0};
    std::vector<Task> tasks;
    const int rounds = often(100, 5);
    for (int i = 0; i < 100; ++i) tasks.push_back(counting(dispatcher, client, rounds, ended));
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([&] {
            while (ended < 100) dispatcher.run_once(50ms);
        });
    for (std::thread &thread : threads) thread.join();
    for (const Task &task : tasks) {
        CHECK(task.done());
        task.rethrow();
    }
}

static Task late(rs::Dispatcher &dispatcher, const rs::Client &client, const rs::Script &script,
                 std::atomic<bool> &over) {
    rs::CallOptions impatient;
    impatient.timeout = 20ms;
    const rs::Result<rs::Reply> missed = co_await dispatcher.try_awaited(script, rs::list(), rs::list(), impatient);
    CHECK(!missed && missed.error().reason() == RS_REASON_DEADLINE && missed.error().is_indeterminate());
    auto call = dispatcher.try_awaited(script, {}, {});
    CHECK(dispatcher.cancel(client, call.id()));
    const rs::Result<rs::Reply> cancelled = co_await call;
    CHECK(!cancelled && cancelled.error().reason() == RS_REASON_CANCELLED);
    over = true;
}

static void deadlines_and_cancelling() {
    server *slow = server_start();
    rs::Client client(server_url(slow));
    rs::Script script(client, "return 1");
    script.call({}, {});
    CHECK_INT(kill(server_pid(slow), SIGSTOP), 0);
    rs::Dispatcher dispatcher(10);
    std::atomic<bool> over{false};
    const Task task = late(dispatcher, client, script, over);
    while (!over) dispatcher.run_once();
    CHECK(task.done());
    CHECK_INT(kill(server_pid(slow), SIGCONT), 0);
    server_stop(slow);
}

static Task waiting(rs::Dispatcher &dispatcher, const rs::Client &client, std::shared_ptr<int> held) {
    try {
        co_await dispatcher.awaited(client, rs::list("BLPOP", "none", 0));
        FAIL("it came back");
    } catch (const rs::Error &error) {
        CHECK(error.is_indeterminate() && error.reason() == RS_REASON_CLOSED);
    }
    // Nothing more is accepted.
    CHECK_INT((co_await dispatcher.try_awaited(client, rs::list("PING"))).error().status(), RS_ERR_CLOSED);
    *held = 2;
}

static Task outer(rs::Dispatcher &dispatcher, const rs::Client &client, std::shared_ptr<int> held) {
    co_await waiting(dispatcher, client, held);
    *held = 3;
}

// Coroutines that wait when the Dispatcher goes are told, and end; those that go first are not resumed.
static void going() {
    rs::Client client(server_url(redis));
    for (Driver driver : {Driver::caller, Driver::own_thread, Driver::event_loop}) {
        auto held = std::make_shared<int>(1);
        {
            std::optional<rs::Dispatcher> dispatcher(std::in_place, 10, driver);
            const Task task = outer(*dispatcher, client, held);
            CHECK(!task.done());
            dispatcher.reset();
            CHECK(task.done());
            task.rethrow();
            CHECK_INT(*held, 3);
        }
        CHECK_INT(held.use_count(), 1);
    }
    rs::Dispatcher dispatcher(10);
    auto held = std::make_shared<int>(1);
    client.command({"DEL", "list"});
    {
        const Task task = [](rs::Dispatcher &on, const rs::Client &to, std::shared_ptr<int> kept) -> Task {
            co_await on.awaited(to, rs::list("BLPOP", "list", 0));
            *kept = 5;
        }(dispatcher, client, held);
        CHECK_INT(held.use_count(), 2);
    }
    CHECK_INT(held.use_count(), 1);
    client.command({"RPUSH", "list", 1});
    dispatcher.run();
    CHECK_INT(*held, 1);
    // Calls that nobody waits for end as well.
    (void)dispatcher.awaited(client, {"PING"});
    auto moved = dispatcher.awaited(client, {"PING"});
    moved = dispatcher.awaited(client, {"PING"});
    dispatcher.run();
    CHECK(moved.await_ready() && moved.await_resume().as<std::string>() == "PONG");
}

int main() {
    redis = server_start();
    RUN(drivers);
    RUN(many);
    RUN(deadlines_and_cancelling);
    RUN(going);
}
