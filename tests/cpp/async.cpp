// Submitted calls that end in functions and futures: every driver, deadlines, cancelling, what is thrown, and how a
// Dispatcher goes.
#include <rs_script_async.hpp>

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "support/check.h"
#include "support/server.h"
#include "thrown_by.hpp"

using namespace std::chrono_literals;
using Driver = rs::Dispatcher::Driver;

// The library has an allocator of its own.
static std::atomic<bool> others_lack_memory{false};
static const std::thread::id main_thread = std::this_thread::get_id();
static thread_local int allocations_left = -1; // below 0: no end of them
void *operator new(std::size_t size) {
    const bool is_other = std::this_thread::get_id() != main_thread;
    const bool lacks_memory = allocations_left == 0 || (others_lack_memory && is_other);
    if (allocations_left > 0) --allocations_left;
    void *memory = lacks_memory ? nullptr : std::malloc(size ? size : 1);
    if (!memory) throw std::bad_alloc();
    return memory;
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

static server *redis;
static constexpr std::string_view multiply_lua = "return redis.call('GET', KEYS[1]) * ARGV[1]";

static void functions() {
    rs::Client client(server_url(redis));
    rs::Script multiply(client, multiply_lua);
    rs::Dispatcher dispatcher(100);
    client.command({"SET", "foo", 2});
    std::int64_t product = 0, other = 0;
    std::string pong;
    std::vector<std::string> both;
    rs_status refused = RS_OK;
    dispatcher.call(multiply, {"foo"}, {5}, [&](rs::Result<rs::Reply> reply) { product = reply->integer(); });
    dispatcher.call(multiply.on(client), {"foo"}, {6}, [&](auto reply) { other = reply->integer(); });
    dispatcher.command(client, {"PING"}, [&](rs::Completion done) { pong = done.reply().as<std::string>(); });
    dispatcher.command(client, {"INCR"}, [&](rs::Result<rs::Reply> reply) { refused = reply.error().status(); });
    rs::Pipeline pipeline = client.pipeline();
    pipeline.command({"SET", "foo", 3}).script(multiply, {"foo"}, {5});
    dispatcher.exec(pipeline, [&](rs::Result<rs::Reply> reply) { both = reply->as<std::vector<std::string>>(); });
    CHECK(pipeline.empty());
    dispatcher.run();
    CHECK_INT(product, 10);
    CHECK_INT(other, 12);
    CHECK(pong == "PONG" && both == (std::vector<std::string>{"OK", "15"}));
    CHECK_INT(refused, RS_ERR_SERVER);
    // One that is not accepted.
    const auto nobody = [](const rs::Result<rs::Reply> &) { FAIL("called"); };
    CHECK_INT(thrown_by([&] {
                  dispatcher.command(client, {"SUBSCRIBE", "x"}, nobody);
              }).status(),
              RS_ERR_COMMAND_REFUSED);
    CHECK_INT(dispatcher.try_command(client, {"SUBSCRIBE", "x"}, nobody).error().status(), RS_ERR_COMMAND_REFUSED);
    dispatcher.close();
    CHECK_INT(dispatcher.try_call(multiply, {"foo"}, {5}, nobody).error().status(), RS_ERR_CLOSED);
    CHECK_INT(dispatcher.run_once(0ms), 0);
    CHECK_INT(dispatcher.run_once(), 0);
    dispatcher.run();
}

// Of two threads that run, the one whose function throws lets go of the other: nobody would end its wait.
static void throwing_beside_another() {
    rs::Client client(server_url(redis));
    for (int round = 0; round < 20; ++round) {
        rs::Dispatcher dispatcher(1);
        std::atomic<int> thrown{0};
        const auto run = [&] {
            try {
                dispatcher.run();
            } catch (int) {
                ++thrown;
            }
        };
        dispatcher.command(client, {"BLPOP", "never", "0.05"}, [&](const rs::Result<rs::Reply> &) { throw 1; });
        std::thread one(run), other(run);
        one.join();
        other.join();
        CHECK_INT(thrown.load(), 1);
    }
}

// What a function throws leaves run_once, and the others are handed over all the same.
static void throwing() {
    rs::Client client(server_url(redis));
    rs::Dispatcher dispatcher(100);
    int ended = 0;
    for (int i = 0; i < 3; ++i)
        dispatcher.command(client, {"PING"}, [&, i](const rs::Result<rs::Reply> &) {
            ++ended;
            if (i < 2) throw i;
        });
    int thrown = 0;
    while (dispatcher.size() > 0) {
        try {
            dispatcher.run_once();
        } catch (int) {
            ++thrown;
        }
    }
    CHECK_INT(ended, 3);
    CHECK(thrown >= 1 && thrown <= 2);
}

static void futures() {
    rs::Client client(server_url(redis));
    rs::Script echo(client, "return tonumber(ARGV[1])");
    rs::Dispatcher dispatcher(2000, Driver::own_thread);
    std::vector<std::future<rs::Reply>> replies;
    for (int i = 0; i < 1000; ++i) replies.push_back(dispatcher.call(echo, {}, {i}));
    for (int i = 0; i < 1000; ++i) CHECK_INT(replies[std::size_t(i)].get().integer(), i);
    std::future<rs::Reply> failing = dispatcher.command(client, {"INCR"});
    CHECK_INT(thrown_by([&] { failing.get(); }).status(), RS_ERR_SERVER);
    rs::Pipeline pipeline = client.transaction();
    CHECK_INT(dispatcher.exec(pipeline.command({"PING"})).get().size(), 1);
    // Without exceptions.
    CHECK_INT((*dispatcher.try_command(client, {"INCR"})).get().error().status(), RS_ERR_SERVER);
}

// Every driver does the same; the last one needs no thread but this.
static void drivers() {
    rs::Client client(server_url(redis));
    rs::Script echo(client, "return tonumber(ARGV[1])");
    for (Driver driver : {Driver::caller, Driver::own_thread, Driver::event_loop}) {
        const std::unique_ptr<rs::Dispatcher> dispatcher = *rs::Dispatcher::try_new(1000, driver);
        std::atomic<int> ended{0};
        const std::thread::id here = std::this_thread::get_id();
        for (int i = 0; i < 500; ++i)
            dispatcher->call(echo, {}, {i}, [&, i](const rs::Result<rs::Reply> &reply) {
                CHECK_INT(reply->integer(), i);
                CHECK((std::this_thread::get_id() == here) == (driver != Driver::own_thread));
                // A function may submit.
                if (i == 7) dispatcher->command(client, {"PING"}, [&](const rs::Completion &) { ++ended; });
                ++ended;
            });
        if (driver == Driver::own_thread) {
            WAIT_UNTIL(ended == 501);
        } else if (driver == Driver::caller) {
            dispatcher->run();
        } else {
            while (dispatcher->size() > 0) {
                pollfd fd{dispatcher->fd(), POLLIN, 0};
                CHECK_INT(::poll(&fd, 1, 60000), 1);
                while (dispatcher->run_once(0ms, 64) == 64) {
                }
            }
        }
        CHECK_INT(ended, 501);
    }
    CHECK_INT(rs::Dispatcher::try_new(0, Driver::own_thread).error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(thrown_by([] { rs::Dispatcher none(0); }).status(), RS_ERR_INVALID_ARGUMENT);
}

// Several threads run; all come back when nothing is under way. One call in a hundred is called off meanwhile.
static void many_threads_and_calls() {
    rs::Client client(server_url(redis));
    const std::size_t count = static_cast<std::size_t>(often(100000, 2000));
    rs::Dispatcher dispatcher(count);
    std::atomic<std::size_t> good{0}, called_off{0};
    std::vector<rs::CallId> ids;
    for (std::size_t i = 0; i < count; ++i)
        ids.push_back(dispatcher.command(client, {"ECHO", i},
                                         [&](const rs::Result<rs::Reply> &reply) { ++(reply ? good : called_off); }));
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back([&] { dispatcher.run(); });
    std::size_t cancelled = 0;
    for (std::size_t i = 0; i < count; i += 100) cancelled += dispatcher.cancel(client, ids[i]);
    for (std::thread &thread : threads) thread.join();
    CHECK_INT(good + called_off, count);
    CHECK(called_off <= cancelled); // one whose reply had come already ends with that
    CHECK(!dispatcher.cancel(client, ids[0]));
}

// Threads that wait for the last call come back when another one has handed it over.
static void running_dry() {
    rs::Client client(server_url(redis));
    client.command({"DEL", "list"});
    for (int round = often(200, 5); round > 0; --round) {
        rs::Dispatcher dispatcher(10);
        std::atomic<int> running{0};
        dispatcher.command(client, {"BLPOP", "list", 0},
                           [](const rs::Result<rs::Reply> &reply) { CHECK(reply.has_value()); });
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i)
            threads.emplace_back([&] {
                ++running;
                dispatcher.run();
            });
        WAIT_UNTIL(running == 3);
        client.command({"RPUSH", "list", 1});
        for (std::thread &thread : threads) thread.join();
    }
}

// Whoever hands the last call over, be it the Dispatcher's own thread: who runs comes back.
static void running_beside_others() {
    rs::Client client(server_url(redis));
    client.command({"DEL", "list"});
    for (Driver driver : {Driver::caller, Driver::own_thread})
        for (int round = often(100, 5); round > 0; --round) {
            rs::Dispatcher dispatcher(10, driver);
            std::atomic<bool> has_ended{false}, is_running{false};
            dispatcher.command(client, {"BLPOP", "list", 0}, [&](const rs::Result<rs::Reply> &reply) {
                CHECK(reply.has_value());
                has_ended = true;
            });
            std::thread runs([&] {
                is_running = true;
                dispatcher.run();
            });
            std::thread once([&] {
                while (driver == Driver::caller && !has_ended) dispatcher.run_once(1ms);
            });
            WAIT_UNTIL(is_running);
            client.command({"RPUSH", "list", 1});
            once.join();
            runs.join();
            CHECK(has_ended);
        }
    // Where nobody else has run, nobody is woken: what is waited for next is.
    rs::Dispatcher dispatcher(10);
    dispatcher.command(client, {"PING"}, [](const rs::Result<rs::Reply> &) {});
    dispatcher.run();
    dispatcher.command(client, {"BLPOP", "none", "0.02"}, [](const rs::Result<rs::Reply> &) {});
    CHECK_INT(dispatcher.run_once(), 1);
}

// A server that stands still: the deadline ends a call, and so does cancelling.
static void deadlines_and_cancelling() {
    server *slow = server_start();
    rs::Client client(server_url(slow));
    rs::Script script(client, "return 1");
    rs::Dispatcher dispatcher(10, Driver::own_thread);
    script.call({}, {});
    CHECK_INT(kill(server_pid(slow), SIGSTOP), 0);
    rs::CallOptions impatient;
    impatient.timeout = 20ms;
    std::future<rs::Reply> late = dispatcher.call(script, {}, {}, impatient);
    const rs::Error error = thrown_by([&] { late.get(); });
    CHECK(error.reason() == RS_REASON_DEADLINE && error.is_indeterminate());
    std::promise<rs_status> status;
    dispatcher.call(script, {}, {}, impatient,
                    [&](const rs::Result<rs::Reply> &reply) { status.set_value(reply.error().status()); });
    CHECK_INT(status.get_future().get(), RS_ERR_INDETERMINATE);
    rs::Future<rs::Reply> cancelled = dispatcher.call(script, {}, {});
    CHECK(dispatcher.cancel(client, cancelled.id()));
    CHECK_INT(thrown_by([&] { cancelled.get(); }).reason(), RS_REASON_CANCELLED);
    CHECK(!dispatcher.cancel(client, cancelled.id()) && !dispatcher.cancel(client, rs::CallId{123456}));
    CHECK_INT(kill(server_pid(slow), SIGCONT), 0);
    server_stop(slow);
}

// A dispatcher that goes lets go of what is under way.
static void going() {
    rs::Client client(server_url(redis));
    for (Driver driver : {Driver::caller, Driver::own_thread, Driver::event_loop}) {
        std::future<rs::Reply> left;
        auto held = std::make_shared<int>(1);
        {
            rs::Dispatcher dispatcher(10, driver);
            left = dispatcher.command(client, {"BLPOP", "none", 0});
            dispatcher.command(client, {"BLPOP", "none", 0},
                               [held](const rs::Result<rs::Reply> &) { FAIL("called"); });
            CHECK_INT(held.use_count(), 2);
        }
        CHECK_INT(held.use_count(), 1);
        const rs::Error error = thrown_by([&] { left.get(); });
        CHECK(error.status() == RS_ERR_INDETERMINATE && error.is_indeterminate() && !error.is_not_executed());
        CHECK_INT(error.reason(), RS_REASON_CLOSED);
    }
    // One that has its reply gives it.
    std::future<rs::Reply> in_time;
    {
        rs::Dispatcher dispatcher(10);
        in_time = dispatcher.command(client, {"PING"});
        pollfd fd{dispatcher.fd(), POLLIN, 0};
        CHECK_INT(::poll(&fd, 1, 60000), 1);
    }
    CHECK(in_time.get().as<std::string>() == "PONG");
}

// Whether a child has ended by SIGKILL, its word for a good end: what its parent's threads held is lost there, which a
// tool that looks for leaks would tell of at any other.
static bool is_killed(pid_t child) {
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

// A child of fork lets its parent's Dispatcher go, which has a thread that is not there.
static void forking() {
    rs::Client client(server_url(redis));
    for (Driver driver : {Driver::caller, Driver::own_thread, Driver::event_loop}) {
        std::optional<rs::Dispatcher> dispatcher(std::in_place, 10, driver);
        std::future<rs::Reply> left = dispatcher->command(client, {"BLPOP", "none", 0});
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            const bool is_refused = dispatcher->try_command(client, {"PING"}).error().status() == RS_ERR_FORKED;
            dispatcher.reset();
            if (is_refused) raise(SIGKILL);
            _exit(1);
        }
        CHECK(is_killed(child));
        std::future<rs::Reply> good = dispatcher->command(client, {"PING"});
        if (driver != Driver::own_thread)
            while (good.wait_for(0ms) != std::future_status::ready) dispatcher->run_once();
        CHECK(good.get().as<std::string>() == "PONG");
    }
}

// Ends the process that it is called in as a program ends that nobody catches for.
static void dies(void (*how)()) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        std::set_terminate([] { raise(SIGKILL); });
        how();
        _exit(0);
    }
    CHECK(is_killed(child));
}

// Where there is nobody to throw to, the program ends.
static void throwing_to_nobody() {
    dies([] {
        rs::Client client(server_url(redis));
        rs::Dispatcher dispatcher(10, Driver::own_thread);
        dispatcher.command(client, {"PING"}, [](const rs::Result<rs::Reply> &) { throw 1; });
        dispatcher.command(client, {"BLPOP", "none", 0}).wait();
    });
    dies([] {
        rs::Options options;
        options.log([](const rs::Event &) { throw 1; });
        rs::Client client(server_url(redis), options);
        client.command({"PING"});
    });
}

// The thread of a Dispatcher has nobody to throw to: it hands over what ends where there is no memory.
static void without_memory() {
    rs::Client client(server_url(redis));
    rs::Dispatcher dispatcher(10, Driver::own_thread);
    std::atomic<int> ended{0};
    others_lack_memory = true;
    for (int i = 0; i < 100; ++i) {
        dispatcher.command(client, {"PING"}, [&](rs::Result<rs::Reply> reply) { ended += reply.has_value(); });
        while (ended <= i) std::this_thread::yield();
    }
    others_lack_memory = false;
}

// Where there is no memory to say why a call is not accepted, nothing of it is kept either.
static void refused_without_memory() {
    rs::Client client(server_url(redis));
    rs::Dispatcher dispatcher(10);
    const std::shared_ptr<int> mine = std::make_shared<int>(0);
    const std::vector<std::string> subscribe = {"SUBSCRIBE", "x"};
    bool is_told = false;
    for (int left = 0; !is_told; ++left) {
        const auto done = [mine](const rs::Result<rs::Reply> &) {};
        allocations_left = left;
        try {
            is_told = !dispatcher.try_command(client, subscribe, done);
        } catch (const std::bad_alloc &) { // and nothing else
        }
        allocations_left = -1;
        CHECK_INT(mine.use_count(), 2);
    }
}

int main() {
    redis = server_start();
    RUN(without_memory);
    RUN(refused_without_memory);
    RUN(functions);
    RUN(throwing);
    RUN(throwing_beside_another);
    RUN(futures);
    RUN(drivers);
    RUN(many_threads_and_calls);
    RUN(running_dry);
    RUN(running_beside_others);
    RUN(deadlines_and_cancelling);
    RUN(going);
    RUN(forking);
    RUN(throwing_to_nobody);
}
