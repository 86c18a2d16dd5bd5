// Every function and template of the headers, made use of so that a compiler looks at all of them. Compiled only, by
// each compiler, in each standard, with and without exceptions.
#include <rs_script_async.hpp>

#include <array>
#include <deque>
#include <list>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

using namespace std::chrono_literals;

struct Point {
    int x, y;
};

template <> struct rs::Conversion<Point> {
    static rs::Result<Point> of(rs::ReplyView reply) {
        return reply.try_as<std::pair<int, int>>().transform([](const std::pair<int, int> &xy) {
            return Point{xy.first, xy.second};
        });
    }
};

void in(rs::Client &client);
void in(rs::Client &client) {
    const std::string text = "k";
    const std::vector<unsigned short> numbers{1, 2};
    const char *words[] = {"a", "b"};
    const std::vector<std::byte> bytes{std::byte{1}};
    const std::array<unsigned char, 2> more_bytes{1, 2};
    (void)client.try_command(
        {"INCRBY", text, 5, 1.5, 2.5F, 3.5L, -1L, 7ULL, 'x' - 'a', std::int8_t(1), std::uint8_t(2)});
    (void)client.try_command({"SET", bytes, more_bytes});
    (void)client.try_command(numbers);
    (void)client.try_command(words);
    (void)client.try_command(std::list<std::string>{"PING"});
    (void)client.try_command(std::array<double, 2>{1, 2});
    (void)client.try_command(rs::list("ECHO", text, 1));
    (void)client.try_script_exists({text});
    (void)client.try_script_show(text);
}

void out(const rs::Reply &reply);
void out(const rs::Reply &reply) {
    (void)reply.try_as<std::map<std::string, std::optional<long>>>();
    (void)reply.try_as<std::multimap<std::string, std::vector<std::byte>>>();
    (void)reply.try_as<std::tuple<int, std::string, std::pair<double, bool>>>();
    (void)reply.try_as<std::vector<std::set<unsigned char>>>();
    (void)reply.try_as<std::vector<bool>>();
    (void)reply.try_as<std::vector<std::pair<std::string, float>>>();
    (void)reply.try_as<std::unordered_map<std::string, long double>>();
    (void)reply.try_as<std::unordered_set<std::string>>();
    (void)reply.try_as<std::list<std::uint64_t>>();
    (void)reply.try_as<std::deque<std::array<short, 3>>>();
    (void)reply.try_as<std::vector<Point>>();
    (void)reply[0].try_as<Point>();
    (void)reply.error();
    for (rs::ReplyView element : reply) (void)element.string();
}

void results(rs::Client &client);
void results(rs::Client &client) {
    rs::Result<rs::Reply> reply = client.try_command({"GET", "k"});
    if (!reply) (void)(reply.error().what() + std::string(reply.error().node()));
    const std::string code = client.try_command({"GET"}).error().server_code();
    const rs::Result<long> number = client.try_command({"GET", "k"})
                                        .and_then([](const rs::Reply &got) { return got.try_as<long>(); })
                                        .transform([](long n) { return n + 1; });
    (void)number.value_or(5);
    (void)number.or_else([](const rs::Error &) { return rs::Result<long>(1L); });
    (void)client.try_script_flush().and_then([] { return rs::Result<void>(); }).transform([] { return 1; });
    (void)client.try_script_flush().or_else([](const rs::Error &error) { return rs::Result<void>(error); });
}

void calls(rs::Client &client, rs::Script &script, rs::Queue &queue);
void calls(rs::Client &client, rs::Script &script, rs::Queue &queue) {
    rs::CallOptions options;
    options.read_only = true;
    options.timeout = 1s;
    options.route = rs::Route::key("k");
    options.token = "job 17";
    (void)script.try_call({"k"}, {1}, options);
    (void)script.try_call(client, {"k"}, {1}, options);
    (void)script.try_call({"k"}, {1}, {});
    (void)script.on(client).try_call({}, {});
    (void)script.try_submit(queue, 1, {"k"}, {1}, options);
    (void)client.try_submit(queue, 1, {"PING"}, options);
    (void)client.try_with(options);
#if __cplusplus >= 202002L
    (void)script.try_call({"k"}, {1}, {.read_only = true, .timeout = 50ms, .route = rs::Route::slot(7)});
    (void)script.try_call(client, {"k"}, {1}, {.idempotent = true});
    (void)client.try_command({"PING"}, {.timeout = 1min, .read_from = RS_READ_FROM_REPLICA});
    (void)client.try_with({.route = rs::Route::all()});
    (void)rs::Script::try_register(client, "return 1", {.idempotent = true, .name = "one"});
    (void)rs::Script::try_register(client, "return 1", {.once = rs::Once{.lifetime = 1h, .wait_replicas = 1}});
    (void)script.try_call({"k"}, {1}, {.token = "job 17"});
#endif
    rs::Pipeline pipeline = *client.try_pipeline();
    (void)pipeline.try_command({"GET", "k"}, options);
    (void)pipeline.try_script(script, {"k"}, {1}, options);
    (void)pipeline.try_exec(options);
    (void)pipeline.try_submit(queue, 1, options);
    (void)queue.try_poll(5, 0ms);
    (void)queue.try_dispatch(5, rs::forever, [](rs::Completion done) { (void)std::move(done).try_reply(); });
}

void later(rs::Dispatcher &dispatcher, rs::Script &script, rs::Client &client, rs::Pipeline &pipeline);
void later(rs::Dispatcher &dispatcher, rs::Script &script, rs::Client &client, rs::Pipeline &pipeline) {
    const rs::CallOptions options;
    dispatcher.call(script, {"k"}, {1}, [](const rs::Result<rs::Reply> &) {});
    dispatcher.call(script.on(client), {"k"}, {1}, options, [](auto &&reply) { (void)reply.has_value(); });
    dispatcher.command(client, {"PING"}, [](const rs::Completion &) {});
    std::future<rs::Reply> plain = dispatcher.exec(pipeline);
    rs::Result<rs::Future<rs::Result<rs::Reply>>> future = dispatcher.try_call(script, {"k"}, {1}, options);
    if (future) (void)dispatcher.try_cancel(client, future->id());
    (void)dispatcher.try_command(client, {"PING"});
    (void)dispatcher.try_command(client, {"PING"}, options, [](rs::Completion) {});
    (void)dispatcher.try_exec(pipeline, [](rs::Completion) {});
    (void)dispatcher.try_run_once(0ms);
    (void)dispatcher.try_run();
    (void)rs::Dispatcher::try_new(5, rs::Dispatcher::Driver::own_thread);
}

void settings(rs::Options &options);
void settings(rs::Options &options) {
    options.connect_timeout(1s).call_timeout(1s).silence_timeout(5ms).keepalive(1min).reconnect_backoff(1ms, 1s);
    options.max_waiting(100).shared_connections(2).max_in_flight(1000).lazy_connect(true).client_info(false);
    options.log([](const rs::Event &) {});
    options.on_call([](const rs::CallEvent &event) { (void)event.duration.count(); });
    options.credentials([](std::string_view) { return rs::Credentials{"secret", "user", 15min}; });
    if (options.error()) (void)options.error()->what();
}

void kept(const rs::Queue &queue);
void kept(const rs::Queue &queue) {
    const rs::Events events(5, queue);
    rs::Options options;
    options.events(events).credentials_events(events);
    rs::Result<rs::Events> other = rs::Events::try_new(5, queue);
    if (other) (void)other->get();
    for (const rs::KeptEvent &event : events.take().events) (void)event.node.has_value();
    if (rs::Result<rs::TakenEvents> taken = events.try_take()) (void)taken->dropped;
    std::optional<rs::CredentialsRequest> request = events.take_credentials();
    if (request) request->answer(rs::Credentials{"secret", "user", 15min});
    rs::Result<std::optional<rs::CredentialsRequest>> next = events.try_take_credentials();
    if (next && *next) (void)(*next)->try_answer({(*next)->node().size() ? "a" : "b"});
    rs::CredentialsRequest(nullptr).refuse("nobody");
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

Task coroutine(rs::Dispatcher &dispatcher, rs::Script &script, rs::Client &client, rs::Pipeline &pipeline);
Task coroutine(rs::Dispatcher &dispatcher, rs::Script &script, rs::Client &client, rs::Pipeline &pipeline) {
    (void)co_await dispatcher.awaited(script, rs::list("k"), rs::list(1));
    (void)co_await dispatcher.awaited(client, rs::list("PING"));
    (void)co_await dispatcher.awaited(pipeline);
    rs::Result<rs::Reply> reply = co_await dispatcher.try_awaited(script.on(client), rs::list("k"), rs::list(1));
    (void)co_await dispatcher.try_awaited(client, rs::list("PING"));
    (void)co_await dispatcher.try_awaited(pipeline);
}
#endif
