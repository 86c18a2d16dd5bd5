// A program without exceptions: functions named try_, and what becomes of their errors. Compiled with -fno-exceptions.
#include <rs_script_async.hpp>

#include <map>

#include "support/check.h"
#include "support/server.h"

#if defined(__cpp_exceptions)
#error "this is to be compiled with -fno-exceptions"
#endif

using namespace std::chrono_literals;

static server *redis;

static void calls() {
    rs::Result<rs::Client> client = rs::Client::try_open(server_url(redis));
    CHECK(client.has_value() && rs::Client::try_open("http://x").error().status() == RS_ERR_INVALID_URL);
    const rs::Result<rs::Script> multiply =
        rs::Script::try_register(*client, "return redis.call('GET', KEYS[1]) * ARGV[1]");
    CHECK(client->try_command({"SET", "foo", 2}).has_value());
    const auto as_int = [](const rs::Reply &reply) { return reply.try_as<int>(); };
    CHECK_INT(*multiply->try_call({"foo"}, {5}).and_then(as_int), 10);
    const rs::Result<int> failed = multiply->try_call({"foo"}, {"x"}).and_then(as_int);
    CHECK(!failed && failed.error().status() == RS_ERR_SERVER);
    rs::Result<rs::Pipeline> pipeline = client->try_transaction();
    CHECK(pipeline->try_command({"SET", "foo", 3}).has_value() &&
          pipeline->try_script(*multiply, {"foo"}, {5}).has_value());
    CHECK_INT((*pipeline->try_exec())[1].as<int>(), 15);
    CHECK((*client->try_script_exists({multiply->sha()}))[0]);
}

static void queues() {
    const rs::Client client = *rs::Client::try_open(server_url(redis));
    const rs::Queue queue = *rs::Queue::try_new(10);
    CHECK(client.try_submit(queue, 7, {"ECHO", 5}).has_value() && client.try_submit(queue, 8, {"INCR"}).has_value());
    std::map<std::uint64_t, rs::Result<rs::Reply>> ended;
    while (ended.size() < 2)
        CHECK(queue
                  .try_dispatch(10, rs::forever,
                                [&](rs::Completion done) { ended.emplace(done.tag(), std::move(done).try_reply()); })
                  .has_value());
    CHECK_INT(ended.at(7)->as<int>(), 5);
    CHECK_INT(ended.at(8).error().status(), RS_ERR_SERVER);
    CHECK(queue.try_poll(1, 0ms).value().empty());
}

static void later() {
    const rs::Client client = *rs::Client::try_open(server_url(redis));
    const std::unique_ptr<rs::Dispatcher> dispatcher =
        *rs::Dispatcher::try_new(10, rs::Dispatcher::Driver::own_thread);
    CHECK_INT(*(*dispatcher->try_command(client, {"ECHO", 5})).get().and_then([](const rs::Reply &reply) {
        return reply.try_as<int>();
    }),
              5);
    CHECK_INT((*dispatcher->try_command(client, {"INCR"})).get().error().status(), RS_ERR_SERVER);
    CHECK_INT(dispatcher->try_command(client, {"SUBSCRIBE", "x"}).error().status(), RS_ERR_COMMAND_REFUSED);
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

static Task echoes(rs::Dispatcher &dispatcher, const rs::Client &client, int &sum) {
    const rs::Result<rs::Reply> reply = co_await dispatcher.try_awaited(client, rs::list("ECHO", 5));
    const rs::Result<rs::Reply> refused = co_await dispatcher.try_awaited(client, rs::list("SUBSCRIBE", "x"));
    sum = reply->as<int>() + (refused.error().status() == RS_ERR_COMMAND_REFUSED ? 100 : 0);
}

static void coroutines() {
    const rs::Client client = *rs::Client::try_open(server_url(redis));
    rs::Dispatcher dispatcher(10);
    int sum = 0;
    echoes(dispatcher, client, sum);
    CHECK(dispatcher.try_run().has_value());
    CHECK_INT(sum, 105);
}
#endif

int main() {
    redis = server_start();
    RUN(calls);
    RUN(queues);
    RUN(later);
#ifdef RS_SCRIPT_HAS_COROUTINES
    RUN(coroutines);
#endif
}
