// Submitted calls that end in functions, futures and coroutines.
#include <rs_script_async.hpp>

#include <atomic>
#include <thread>

#include "support/check.h"
#include "support/server.h"
#include "thrown_by.hpp"

static server *redis;
static constexpr std::string_view multiply_lua = "return redis.call('GET', KEYS[1]) * ARGV[1]";

static void run_all(rs::Dispatcher &dispatcher) {
    while (dispatcher.size() > 0) dispatcher.run_once(60000);
}

static void functions() {
    rs::Client client(server_url(redis));
    rs::Script multiply(client, multiply_lua);
    rs::Dispatcher dispatcher(100);
    client.command({"SET", "foo", 2});
    std::int64_t product = 0;
    std::string pong;
    std::vector<std::string> both;
    rs_status refused = RS_OK;
    dispatcher.call(multiply, {"foo"}, {5}, [&](rs::Result<rs::Reply> reply) { product = reply->integer(); });
    dispatcher.command(client, {"PING"}, [&](rs::Completion done) { pong = done.reply().as<std::string>(); });
    dispatcher.command(client, {"INCR"}, [&](rs::Result<rs::Reply> reply) { refused = reply.error().status(); });
    rs::Pipeline pipeline = client.pipeline();
    pipeline.command({"SET", "foo", 3}).script(multiply, {"foo"}, {5});
    dispatcher.exec(pipeline, [&](rs::Result<rs::Reply> reply) { both = reply->as<std::vector<std::string>>(); });
    CHECK(pipeline.empty());
    run_all(dispatcher);
    CHECK_INT(product, 10);
    CHECK(pong == "PONG" && both == (std::vector<std::string>{"OK", "15"}));
    CHECK_INT(refused, RS_ERR_SERVER);
    // One that is not accepted.
    CHECK_INT(thrown_by([&] { dispatcher.command(client, {"SUBSCRIBE", "x"}, [](rs::Result<rs::Reply>) { FAIL("called"); }); }).status(),
              RS_ERR_COMMAND_REFUSED);
    CHECK_INT(dispatcher.run_once(0), 0);
}

// What a function throws leaves run_once, and the others are handed over all the same.
static void throwing() {
    rs::Client client(server_url(redis));
    rs::Dispatcher dispatcher(100);
    int ended = 0;
    for (int i = 0; i < 3; ++i)
        dispatcher.command(client, {"PING"}, [&, i](rs::Result<rs::Reply>) {
            ++ended;
            if (i < 2) throw i;
        });
    int thrown = 0;
    while (dispatcher.size() > 0) {
        try {
            dispatcher.run_once(60000);
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
    rs::Dispatcher dispatcher(2000);
    std::atomic<bool> over{false};
    std::thread runner([&] {
        while (!over || dispatcher.size() > 0) dispatcher.run_once(20);
    });
    std::vector<std::future<rs::Reply>> replies;
    for (int i = 0; i < 1000; ++i) replies.push_back(dispatcher.call(echo, {}, {i}));
    for (int i = 0; i < 1000; ++i) CHECK_INT(replies[std::size_t(i)].get().integer(), i);
    std::future<rs::Reply> failing = dispatcher.command(client, {"INCR"});
    CHECK_INT(thrown_by([&] { failing.get(); }).status(), RS_ERR_SERVER);
    over = true;
    runner.join();
}

// A dispatcher that goes lets go of what is under way.
static void going() {
    std::future<rs::Reply> left;
    auto held = std::make_shared<int>(1);
    rs::Client client(server_url(redis));
    {
        rs::Dispatcher dispatcher(10);
        left = dispatcher.command(client, {"BLPOP", "none", 0});
        dispatcher.command(client, {"BLPOP", "none", 0}, [held](rs::Result<rs::Reply>) { FAIL("called"); });
        CHECK_INT(held.use_count(), 2);
    }
    CHECK_INT(held.use_count(), 1);
    try {
        left.get();
        FAIL("there was a reply");
    } catch (const std::future_error &error) {
        CHECK(error.code() == std::future_errc::broken_promise);
    }
}

#ifdef RS_SCRIPT_HAS_COROUTINES
struct Task {
    struct promise_type {
        Task get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
};

static Task twice(rs::Dispatcher &dispatcher, rs::Script &multiply, std::int64_t &sum) {
    for (int factor : {5, 6}) {
        auto product = dispatcher.awaited(multiply, {"foo"}, {factor});
        sum += (co_await product).integer();
    }
    try {
        auto product = dispatcher.awaited(multiply, {"foo"}, {"x"});
        co_await product;
    } catch (const rs::Error &error) {
        sum += error.status() == RS_ERR_SERVER ? 1000 : 0;
    }
}

static Task left(rs::Dispatcher &dispatcher, rs::Script &script, std::shared_ptr<int> held) {
    auto reply = dispatcher.awaited(script, {"foo"}, {1});
    co_await reply;
    (void)held;
}

static void coroutines() {
    rs::Client client(server_url(redis));
    rs::Script multiply(client, multiply_lua);
    client.command({"SET", "foo", 2});
    std::int64_t sum = 0;
    {
        rs::Dispatcher dispatcher(10);
        twice(dispatcher, multiply, sum);
        run_all(dispatcher);
    }
    CHECK_INT(sum, 1022);
    // One that is still waiting is destroyed with the dispatcher.
    auto held = std::make_shared<int>(1);
    {
        rs::Dispatcher dispatcher(1);
        left(dispatcher, multiply, held);
        CHECK_INT(held.use_count(), 2);
        CHECK_INT(thrown_by([&] { (void)dispatcher.awaited(multiply, {"foo"}, {1}); }).status(), RS_ERR_QUEUE_FULL);
    }
    CHECK_INT(held.use_count(), 1);
}
#endif

int main() {
    redis = server_start();
    RUN(functions);
    RUN(throwing);
    RUN(futures);
    RUN(going);
#ifdef RS_SCRIPT_HAS_COROUTINES
    RUN(coroutines);
#endif
}
