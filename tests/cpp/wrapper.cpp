// The C++ wrapper: ownership, what goes in, what comes out, exceptions and results.
#include <rs_script.hpp>

#include <array>
#include <atomic>
#include <cstdlib>
#include <list>
#include <new>
#include <thread>
#include <type_traits>

#include "support/check.h"
#include "support/server.h"
#include "thrown_by.hpp"

using namespace std::chrono_literals;

// Heap use of this program's C++ side; the library has an allocator of its own.
static std::atomic<std::size_t> allocations{0};
// Blocks of as many bytes as `watched` and more are looked at when they are freed, whether they hold it.
static std::string_view watched;
static std::atomic<std::size_t> holders{0}, freed_with_it{0};
static std::array<std::atomic<char *>, 16> blocks;
static constexpr std::size_t longest = 4096;
void *operator new(std::size_t size) {
    ++allocations;
    const bool is_watched = !watched.empty() && size >= watched.size() && size <= longest;
    // So long that all of them can be searched alike.
    void *memory = is_watched ? std::calloc(1, longest) : std::malloc(size ? size : 1);
    if (!memory) throw std::bad_alloc();
    if (is_watched) blocks[holders++ % blocks.size()] = static_cast<char *>(memory);
    return memory;
}
void operator delete(void *memory) noexcept {
    for (std::atomic<char *> &block : blocks) {
        if (!memory || block != memory) continue;
        freed_with_it += std::string_view(block, longest).find(watched) != std::string_view::npos;
        block = nullptr;
    }
    std::free(memory);
}
void operator delete(void *memory, std::size_t) noexcept { operator delete(memory); }

static server *one, *two;
static constexpr std::string_view multiply_lua = "return redis.call('GET', KEYS[1]) * ARGV[1]";

static_assert(!std::is_copy_constructible_v<rs::Client> && std::is_nothrow_move_constructible_v<rs::Client>);
static_assert(!std::is_copy_constructible_v<rs::Script> && std::is_nothrow_move_constructible_v<rs::Script>);
static_assert(!std::is_copy_constructible_v<rs::Reply> && std::is_nothrow_move_constructible_v<rs::Reply>);
static_assert(!std::is_copy_constructible_v<rs::Pipeline> && std::is_nothrow_move_constructible_v<rs::Pipeline>);
static_assert(!std::is_copy_constructible_v<rs::Options>);
static_assert(std::is_nothrow_copy_constructible_v<rs::Error>);
static_assert(std::is_trivially_copyable_v<rs::ReplyView>);

static void two_servers() {
    rs::Client first(server_url(one)), second(server_tcp_url(two));
    rs::Script multiply(first, multiply_lua);
    CHECK_INT(std::string_view(multiply.sha()).size(), 40);
    first.command({"SET", "foo", "2"});
    second.command({"SET", "foo", "3"});
    CHECK_INT(multiply.call({"foo"}, {"5"}).integer(), 10);
    CHECK_INT(multiply.call(second, {"foo"}, {"5"}).integer(), 15);
    first.script_flush(RS_FLUSH_SYNC);
    CHECK_INT(multiply.call({"foo"}, {"5"}).integer(), 10);
    rs::CallOptions reading;
    reading.read_only = true;
    CHECK_INT(multiply.call({"foo"}, {"6"}, reading).integer(), 12);
    CHECK_INT(multiply.call(second, {"foo"}, {"6"}, reading).integer(), 18);
    CHECK_INT(multiply.on(second).call({"foo"}, {"7"}, reading).integer(), 21);
    rs::Script clientless(multiply_lua, rs::ScriptOptions{true, "multiply"});
    CHECK(clientless.name() == "multiply" && multiply.name().empty());
    CHECK_INT(clientless.call(first, {"foo"}, {"5"}).integer(), 10);
    CHECK_INT(thrown_by([&] { clientless.call({"foo"}, {"5"}); }).status(), RS_ERR_INVALID_ARGUMENT);
}

static void lists_of_every_kind() {
    rs::Client client(server_url(one));
    rs::Script echo(client, "return {#KEYS, #ARGV, ARGV[1] or '-', ARGV[#ARGV] or '-'}");
    auto check = [&](const rs::Strings &args, std::size_t count, std::string_view first, std::string_view last) {
        rs::Reply reply = echo.call({}, args);
        CHECK_INT(reply[1].integer(), count);
        CHECK(reply[2].string() == first);
        CHECK(reply[3].string() == last);
    };
    const char *array[] = {"a", "b"};
    const std::string text = "text";
    check({}, 0, "-", "-");
    check({"a", text, std::string("b"), std::string_view("cd", 1)}, 4, "a", "c");
    check(std::vector<std::string>{"a", "b"}, 2, "a", "b");
    check(std::list<std::string_view>{"a", "b"}, 2, "a", "b");
    check(std::array<const char *, 2>{"a", "b"}, 2, "a", "b");
    check(std::initializer_list<std::string_view>{"a"}, 1, "a", "a");
    check(array, 2, "a", "b");
    check({std::string_view("\0x", 2), std::string_view()}, 2, std::string_view("\0x", 2), "");
    // Around the inline size, and far beyond.
    for (std::size_t count : {rs::Strings::inline_size - 1, rs::Strings::inline_size, rs::Strings::inline_size + 1,
                              std::size_t(5000)}) {
        std::vector<std::string> many;
        for (std::size_t i = 0; i < count; ++i) many.push_back(std::to_string(i));
        check(many, count, "0", std::to_string(count - 1));
    }
}

static void no_heap_for_few_arguments() {
    rs::Client client(server_url(one));
    rs::Script script(client, "return ARGV[1]");
    std::array<std::string_view, rs::Strings::inline_size> args;
    args.fill("x");
    const std::array<int, rs::Strings::inline_size> numbers{};
    const std::list<std::string> words{"x", "y"};
    rs::CallOptions options;
    options.timeout = std::chrono::minutes(1);
    script.call({"key"}, args);
    const std::size_t before = allocations;
    for (int i = 0; i < 10; ++i) {
        rs::Reply reply = script.call({"key"}, args);
        CHECK(reply.string() == "x");
        CHECK(client.try_command({"GET", "none"}).has_value());
        CHECK(client.try_command({"SET", "number", 1.5, "PX", 100000}).has_value());
        CHECK(script.call({"key"}, numbers, options).size() == 1 && script.call({"key"}, words).size() == 1);
    }
    CHECK_INT(allocations - before, 0);
}

static void replies() {
    rs::Client client(server_url(one));
    rs::Script script(client,
                      "redis.setresp(3) return {1, 'two\\0', false, {3, {4}}, {double = 1.5}, {map = {k = 'v'}}, true,"
                      "{verbatim_string = {string = 't', format = 'txt'}}, {err = 'E x'}}");
    rs::Reply reply = script.call({}, {});
    CHECK(reply && reply.type() == RS_REPLY_ARRAY && reply.size() == 9);
    CHECK_INT(reply[0].integer(), 1);
    CHECK(reply[1].string() == std::string_view("two\0", 4));
    CHECK(reply[2].type() == RS_REPLY_BOOLEAN && !reply[2].is_nil());
    const rs::Reply nil = client.command({"GET", "none"});
    CHECK(nil && nil.is_nil() && nil.size() == 0 && nil.begin() == nil.end());
    CHECK_INT(reply[3][1][0].integer(), 4);
    CHECK(reply[4].number() == 1.5 && reply[0].number() == 1.0);
    CHECK(reply[5].type() == RS_REPLY_MAP && reply[5][1].string() == "v");
    CHECK(reply[6].boolean() && reply[0].boolean() && !reply[2].boolean());
    CHECK(reply.strings().size() == reply.size() && reply.strings()[7] == reply[7].string());
    CHECK(reply[7].strings().empty());
    CHECK(reply[7].verbatim_format() == "txt" && reply[1].verbatim_format().empty());
    CHECK(reply[8].type() == RS_REPLY_ERROR && reply[8].string() == "E x");
    // Beyond the end, and of nothing.
    CHECK(!reply[9] && reply[9].type() == RS_REPLY_NONE && reply[9][0].string().empty() && !reply[9].is_nil());
    CHECK(rs::ReplyView().begin() == rs::ReplyView().end());

    std::size_t count = 0;
    for (rs::ReplyView element : reply) {
        CHECK_INT(element.type(), reply[count].type());
        ++count;
    }
    CHECK_INT(count, 9);
    std::vector<std::int64_t> inner;
    for (auto element : reply[3]) inner.push_back(element.integer());
    CHECK(inner.size() == 2 && inner[0] == 3);
    for (auto element : reply[1]) FAIL("a string has no elements, yet there is one of type %d", int(element.type()));
    // A reply that is not kept lives until the loop ends.
    count = 0;
    for (auto element : script.call({}, {})) count += element.type() != RS_REPLY_NONE;
    CHECK_INT(count, 9);
}

static void moving() {
    rs::Client client(server_url(one));
    rs::Script script(client, multiply_lua);
    rs::Reply reply = client.command({"ECHO", "hello"});
    rs::Client taken = std::move(client);
    CHECK(!client.get() && taken.get());
    const rs::Error error = thrown_by([&] { client.command({"PING"}); });
    CHECK_INT(error.status(), RS_ERR_INVALID_ARGUMENT);
    // Not silently on the client that the script was registered with.
    CHECK_INT(thrown_by([&] { script.call(client, {"foo"}, {"5"}); }).status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(thrown_by([&] { script.on(client).call({"foo"}, {"5"}); }).status(), RS_ERR_INVALID_ARGUMENT);
    CHECK(script.try_call(client, {"foo"}, {"5"}).error().is_not_executed());
    // Nor for no client in particular.
    CHECK_INT(rs::Script::try_register(client, multiply_lua).error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(rs::Library::try_register(client, "#!lua name=moved").error().status(), RS_ERR_INVALID_ARGUMENT);
    // Nor with every default in place of what the options had.
    rs::Options options;
    options.password("not that of the server").call_timeout(1min);
    const rs::Options taken_options = std::move(options);
    CHECK_INT(rs::Client::try_open(server_url(one), options).error().status(), RS_ERR_INVALID_ARGUMENT);

    rs::Reply other = std::move(reply);
    CHECK(!reply && other.string() == "hello");
    other = taken.command({"ECHO", "again"});
    CHECK(other.string() == "again");
    reply = std::move(other);
    CHECK(!other && reply.string() == "again");
    rs::Reply &same = reply;
    reply = std::move(same);
    CHECK(reply.string() == "again");
    reply = rs::Reply();
    CHECK(!reply);

    rs::Script moved = std::move(script);
    CHECK_TEXT(script.sha(), "");
    CHECK_INT(thrown_by([&] { script.call({}, {}); }).status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(moved.call({"foo"}, {"5"}).integer(), 10);
    taken = rs::Client(server_url(two)); // frees the first
    CHECK_INT(thrown_by([&] { moved.call({"foo"}, {"5"}); }).status(), RS_ERR_CLOSED);
}

static void exceptions_and_results() {
    rs::Client client(server_url(one));
    rs::Script failing(client, "return redis.error_reply('MYWORD it went wrong')"), broken(client, "return return");
    rs::Error error = thrown_by([&] { failing.call({}, {}); });
    CHECK_INT(error.status(), RS_ERR_SERVER);
    CHECK_TEXT(error.status_name(), "RS_ERR_SERVER");
    CHECK(error.server_code() == "MYWORD");
    CHECK_HOLDS(error.what(), "it went wrong");
    CHECK(!error.is_indeterminate() && !error.is_not_executed());
    rs::Error copy = error;
    error = thrown_by([&] { broken.call({}, {}); });
    CHECK_INT(error.status(), RS_ERR_COMPILE);
    CHECK(error.is_not_executed());
    CHECK(copy.server_code() == "MYWORD");
    try {
        rs::Client nobody("unix:///nowhere/at/all");
        FAIL("it was opened");
    } catch (const std::runtime_error &base) {
        CHECK_HOLDS(base.what(), "nowhere");
    }

    rs::Result<rs::Reply> result = failing.try_call({}, {});
    CHECK(!result && result.error().status() == RS_ERR_SERVER);
    CHECK_INT(thrown_by([&] { result.value(); }).status(), RS_ERR_SERVER);
    result = client.try_command({"ECHO", "x"});
    CHECK(result.has_value() && result->string() == "x" && (*result).string() == "x");
    rs::Reply reply = std::move(result).value();
    CHECK(reply.string() == "x");
    CHECK_INT(rs::Client::try_open("http://x").error().status(), RS_ERR_INVALID_URL);
    CHECK_INT(rs::Script::try_register("", rs::ScriptOptions{false, "two\nlines"}).error().status(),
              RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(client.try_script_kill().error().status(), RS_ERR_SERVER);
    CHECK(client.try_kill().error().server_code() == "NOTBUSY");
    CHECK(thrown_by([&] { client.kill(); }).server_code() == "NOTBUSY");
    CHECK_INT(client.try_script_load(broken).error().status(), RS_ERR_COMPILE);
    CHECK(client.try_script_flush().has_value());
    client.try_script_flush(RS_FLUSH_ASYNC).value();
    CHECK_INT(thrown_by([&] { client.script_flush(9); }).status(), RS_ERR_INVALID_ARGUMENT);
    for (const std::chrono::milliseconds wrong : {0ms, -1ms, std::chrono::milliseconds::max()}) {
        rs::CallOptions options;
        options.timeout = wrong;
        for (const rs::Error &refused :
             {client.try_with(options).error(), client.try_command({"PING"}, options).error(),
              failing.try_call({}, {}, options).error(), client.pipeline().try_exec(options).error()})
            CHECK(refused.status() == RS_ERR_INVALID_ARGUMENT && refused.is_not_executed() &&
                  refused.reason() == RS_REASON_ARGUMENT);
    }
}

static void pipelines_and_transactions() {
    rs::Client client(server_url(one)), other(server_url(one));
    rs::Script multiply(client, multiply_lua);
    rs::CallOptions reading;
    reading.read_only = true;
    client.script_flush();
    rs::Pipeline pipeline = client.pipeline(), transaction = client.transaction();
    for (rs::Pipeline *each : {&pipeline, &transaction}) {
        const std::uint64_t before = client.stats().round_trips;
        each->command({"SET", "foo", "5"}).script(multiply, {"foo"}, {"5"}).script(multiply, {"foo"}, {"6"}, reading);
        CHECK_INT(each->size(), 3);
        const rs::Reply replies = each->exec();
        CHECK_INT(client.stats().round_trips - before, 1);
        CHECK(each->empty() && !each->arrived());
        CHECK(replies.type() == RS_REPLY_ARRAY && replies.size() == 3);
        CHECK(replies[0].string() == "OK" && replies[1].integer() == 25 && replies[2].integer() == 30);
        other.script_flush(RS_FLUSH_SYNC);
    }
    CHECK_INT(client.pipeline().command({"INCR", "foo"}).command({"INCR", "foo"}).exec()[1].integer(), 7);
    CHECK_INT(transaction.exec().size(), 0);

    rs::Script temporary(multiply_lua);
    transaction.script(temporary, {"foo"}, {"5"});
    temporary = rs::Script("return 1");
    CHECK_INT(transaction.exec()[0].integer(), 35);

    client.script_flush();
    multiply.call({"foo"}, {"5"});
    other.script_flush(RS_FLUSH_SYNC);
    rs::Pipeline repairing = client.pipeline(RS_PIPELINE_REPAIR_UNORDERED);
    CHECK_INT(repairing.script(multiply, {"foo"}, {"5"}).exec()[0].integer(), 35);
    rs::Pipeline trusting = client.transaction(RS_PIPELINE_TRUST_CACHE);
    CHECK_INT(trusting.script(multiply, {"foo"}, {"5"}).exec()[0].integer(), 35);
    CHECK_INT(client.try_pipeline(RS_PIPELINE_TRUST_CACHE).error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(thrown_by([&] { client.pipeline(64); }).status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(thrown_by([&] { client.transaction(RS_PIPELINE_REPAIR_UNORDERED); }).status(), RS_ERR_INVALID_ARGUMENT);
    CHECK(client.try_pipeline(RS_PIPELINE_ATOMIC).has_value() && client.try_transaction().has_value());
}

static void pipelines_that_fail() {
    rs::Client client(server_url(one));
    rs::Script multiply(client, multiply_lua), broken(client, "return return"), shebang(client, "#!lua\nreturn 1");
    rs::Pipeline pipeline = client.pipeline();
    CHECK(!rs::ReplyView().error());
    rs::Reply replies =
        pipeline.command({"SET", "foo", "5"}).script(broken, {}, {}).command({"LPUSH", "foo", "x"}).exec();
    CHECK(!replies.error() && !replies[0].error() && !replies[3].error());
    std::optional<rs::Error> error = replies[1].error();
    CHECK(error && error->status() == RS_ERR_COMPILE && error->is_not_executed());
    CHECK_HOLDS(error->what(), "item 1 (EVALSHA): ");
    error = replies[2].error();
    replies = rs::Reply();
    CHECK(error && error->status() == RS_ERR_SERVER && error->server_code() == "WRONGTYPE" &&
          !error->is_not_executed());
    CHECK_HOLDS(error->what(), "item 2 (LPUSH): WRONGTYPE");

    // What is refused leaves the pipeline as it was.
    pipeline.command({"INCR", "foo"});
    CHECK_INT(thrown_by([&] { pipeline.command({"MULTI"}); }).status(), RS_ERR_COMMAND_REFUSED);
    CHECK_INT(pipeline.try_command({"BLPOP", "list", "0"}).error().status(), RS_ERR_COMMAND_REFUSED);
    CHECK_INT(pipeline.try_command({}).error().status(), RS_ERR_INVALID_ARGUMENT);
    rs::CallOptions reading, timed;
    reading.read_only = true;
    timed.timeout = 1s;
    CHECK_INT(thrown_by([&] { pipeline.script(shebang, {}, {}, reading); }).status(), RS_ERR_NOT_READ_ONLY);
    CHECK_INT(pipeline.try_script(shebang, {}, {}, reading).error().status(), RS_ERR_NOT_READ_ONLY);
    CHECK_INT(pipeline.try_command({"PING"}, timed).error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK(pipeline.try_script(multiply, {"foo"}, {"5"}).has_value() && pipeline.try_command({"PING"}).has_value());
    CHECK_INT(pipeline.size(), 3);
    pipeline.clear();
    CHECK(pipeline.empty());

    rs::Pipeline transaction = client.transaction();
    transaction.command({"INCR", "foo"}).command({"GET"});
    const rs::Error aborted = thrown_by([&] { transaction.exec(); });
    CHECK(aborted.status() == RS_ERR_TRANSACTION_ABORTED && aborted.is_not_executed());
    transaction.command({"INCR", "foo"}).script(broken, {}, {});
    CHECK_INT(transaction.try_exec().error().status(), RS_ERR_COMPILE);
    CHECK(client.command({"GET", "foo"}).as<std::string>() == "5");

    rs::Script taken_away(std::move(multiply));
    CHECK_INT(pipeline.try_script(multiply, {"foo"}, {"5"}).error().status(), RS_ERR_INVALID_ARGUMENT);
    rs::Pipeline moved = std::move(pipeline.script(taken_away, {"foo"}, {"5"}));
    CHECK(!pipeline.get() && pipeline.empty());
    pipeline.clear();
    CHECK_INT(pipeline.try_exec().error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(thrown_by([&] { pipeline.command({"PING"}); }).status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(moved.exec()[0].integer(), 25);
    pipeline = std::move(moved);
    client.close();
    CHECK_INT(pipeline.command({"PING"}).try_exec().error().status(), RS_ERR_CLOSED);
    CHECK_INT(thrown_by([&] { client = rs::Client(nullptr), client.pipeline(); }).status(), RS_ERR_INVALID_ARGUMENT);
}

// The replies that came before a break are there.
static void a_pipeline_that_breaks_half_way() {
    rs::Client client(server_url(one), rs::Options().max_reply_bytes(65536));
    rs::Pipeline pipeline = client.pipeline();
    pipeline.command({"ECHO", "first"}).command({"EVAL", "return string.rep('x', 100000)", "0"}).command({"PING"});
    CHECK_INT(thrown_by([&] { pipeline.exec(); }).status(), RS_ERR_REPLY_LIMIT);
    CHECK(pipeline.empty() && pipeline.arrived().size() == 1 && pipeline.arrived()[0].string() == "first");
    CHECK(pipeline.command({"PING"}).exec()[0].as<std::string>() == "PONG" && !pipeline.arrived());
}

static void calls_that_happen_once() {
    rs::Client client(server_url(one));
    client.command({"DEL", "n"});
    rs::ScriptOptions options;
    options.once = rs::Once();
    options.once->prefix = "jobs:";
    options.once->lifetime = 1h;
    rs::Script add(client, "return redis.call('INCRBY', KEYS[1], ARGV[1])", options);
    rs::CallOptions job;
    job.token = "job 17";
    for (int i = 0; i < 2; i++) CHECK_INT(add.call({"n"}, {5}, job).integer(), 5);
    CHECK_INT(add.call({"n"}, {5}).integer(), 10);
    CHECK_INT(client.command({"KEYS", "jobs:{*}:job 17"}).size(), 1);
    CHECK_INT(thrown_by([&] { add.call({"n"}, {6}, job); }).status(), RS_ERR_TOKEN_MISMATCH);
    rs::Pipeline pipeline = client.pipeline(RS_PIPELINE_ATOMIC);
    for (int i = 0; i < 2; i++) {
        pipeline.script(add, {"n"}, {1});
        pipeline.script(add, {"n"}, {1});
        CHECK_INT(pipeline.exec(job)[1].integer(), 12);
    }
    for (const auto milliseconds : {1, -1}) {
        options.once->lifetime = std::chrono::milliseconds(milliseconds);
        const auto refused = rs::Script::try_register(client, "", options);
        CHECK_INT(refused.error().status(), RS_ERR_INVALID_ARGUMENT);
    }
    options.once->lifetime = 1h;
    options.once->wait_timeout = -1ms;
    CHECK_INT(rs::Script::try_register(client, "", options).error().status(), RS_ERR_INVALID_ARGUMENT);
}

static void options_and_log() {
    struct Listener {
        std::shared_ptr<int> messages;
        void operator()(const rs::Event &event) {
            if (event.kind != RS_EVENT_CONNECTED || !event.node || event.status != RS_OK) return;
            if (event.level == RS_LOG_LEVEL_INFO && !event.message.empty()) ++*messages;
        }
    };
    auto messages = std::make_shared<int>(0);
    {
        rs::Options options;
        options.client_name("cpp").connect_timeout(4s).call_timeout(3000ms).protocol(RS_PROTOCOL_RESP2);
        options.silence_timeout(700ms);
        options.keepalive(10s).reconnect_backoff(1ms, 5ms).reconnect_attempts(2).max_reply_bytes(1 << 20);
        options.max_reply_depth(16).lazy_connect(false).log(Listener{messages});
        CHECK(!options.error());
        rs::Client client(server_url(one), options);
        CHECK(client.command({"CLIENT", "GETNAME"}).as<std::string>() == "cpp");
        CHECK_INT(*messages, 1);
        CHECK_INT(messages.use_count(), 2);
    }
    CHECK_INT(messages.use_count(), 1);

    rs::Options wrong;
    wrong.call_timeout(0ms).client_name("two words");
    CHECK(wrong.error() && wrong.error()->status() == RS_ERR_INVALID_OPTION);
    CHECK_INT(rs::Client::try_open(server_url(one), wrong).error().status(), RS_ERR_INVALID_OPTION);
    for (const std::chrono::milliseconds time : {-1ms, std::chrono::milliseconds::min()}) {
        CHECK(rs::Options().call_timeout(time).error() && rs::Options().connect_timeout(time).error() &&
              rs::Options().silence_timeout(time).error());
        CHECK(rs::Options().keepalive(time).error() && rs::Options().reconnect_backoff(time, 1s).error() &&
              rs::Options().reconnect_backoff(1s, time).error());
    }
    CHECK_INT(thrown_by([&] { rs::Client client(server_url(one), wrong); }).status(), RS_ERR_INVALID_OPTION);
    rs::Client lazy("unix:///nowhere/at/all", rs::Options().lazy_connect(true).reconnect_attempts(1));
    CHECK_INT(lazy.try_command({"PING"}).error().status(), RS_ERR_CONNECT);

    // C would read the part in front of a NUL, and log in as somebody else.
    const std::string_view cut("default\0x", 9);
    for (const std::optional<rs::Error> &error :
         {rs::Options().username(cut).error(), rs::Options().client_name(cut).error(),
          rs::Options().tls_ca_file(cut).error(), rs::Options().tls_client_cert("a", cut).error(),
          rs::Options().tls_server_name(cut).error(), rs::Options().sentinel_username(cut).error(),
          rs::Options().map_address("a:1", std::string_view("b:1\0", 4)).error()}) {
        CHECK(error && error->is_not_executed());
        CHECK_INT(error->status(), RS_ERR_INVALID_OPTION);
    }
    const std::string url = server_url(one) + std::string("\0x", 2);
    CHECK_INT(rs::Client::try_open(url).error().status(), RS_ERR_INVALID_URL);
    const auto nobody = [&](std::string_view) { return rs::Credentials{"secret", std::string(cut)}; };
    const rs::Error refused = rs::Client::try_open(server_url(one), rs::Options().credentials(nobody)).error();
    CHECK_INT(refused.status(), RS_ERR_AUTH);
    CHECK(std::string(refused.what()).find("NUL") != std::string::npos);

    // The rest cannot be seen from here: they only must hand on what they were given.
    rs::Options tls;
    tls.username("u").password(std::string_view("p\0q", 3)).tls_ca_file("/none").tls_client_cert("/none", "/none");
    tls.tls_ca_pem("none").tls_client_cert_pem("none", "none");
    tls.tls_server_name("example.org").tls_insecure_skip_verify(false);
    CHECK(!tls.error());
    CHECK(rs::Client::try_open("rediss://127.0.0.1", tls).error().status() != RS_OK);
}

static void calls_and_figures() {
    std::vector<std::string> told;
    rs::Options options;
    options.script_stats(10).on_call([&](const rs::CallEvent &event) {
        CHECK(event.status == RS_OK && event.attempts == 1 && event.node && event.bytes_sent > 0);
        told.push_back(std::string(event.name) + (event.sha ? " with a SHA1" : ""));
    });
    const rs::Client client(server_url(one), options);
    rs::Script script(client, "return 1");
    CHECK_INT(script.call({}, {}).integer(), 1);
    client.command({"PING"});
    CHECK(told == (std::vector<std::string>{script.sha() + std::string(" with a SHA1"), "PING"}));
    const rs::Reply stats = client.script_stats();
    CHECK_INT(stats.size(), 1);
    CHECK(stats[0][1].string() == script.sha() && stats[0][5].integer() == 1);
}

static void credentials_by_callback() {
    const rs::Client admin(server_url(one));
    admin.command({"ACL", "SETUSER", "cpp", "on", ">first", "~*", "+@all"});
    int asked = 0;
    std::string password = "first";
    bool fails = false;
    rs::Options options;
    options.credentials([&](std::string_view node) {
        CHECK(!node.empty());
        asked++;
        if (fails) throw std::runtime_error("the vault is sealed");
        return rs::Credentials{password, "cpp"};
    });
    rs::Client client(server_url(one), options);
    CHECK(client.command({"ACL", "WHOAMI"}).as<std::string>() == "cpp");
    CHECK_INT(asked, 1);
    admin.command({"ACL", "SETUSER", "cpp", "resetpass", ">second"});
    CHECK_INT(client.try_reauthenticate().error().status(), RS_ERR_AUTH);
    password = "second";
    client.reauthenticate();
    fails = true;
    const rs::Error refused = client.try_reauthenticate().error();
    CHECK_INT(refused.status(), RS_ERR_AUTH);
    CHECK_HOLDS(refused.what(), "the vault is sealed");
    CHECK(client.command({"PING"}).as<std::string>() == "PONG");
}

static void events_and_requests_that_are_fetched() {
    const rs::Client admin(server_url(one));
    admin.command({"ACL", "SETUSER", "cpp", "reset", "on", ">first", "~*", "+@all"});
    const rs::Queue queue(10);
    std::optional<rs::Events> events(std::in_place, 100, queue);
    rs::Options options;
    options.lazy_connect(true).reconnect_attempts(1).events(*events).credentials_events(*events);
    CHECK(!options.error());
    rs::Client client(server_url(one), options);
    // Waits as an event loop does: polls, and looks.
    const auto request = [&] {
        for (;;) {
            (void)queue.poll(10, 10ms);
            if (std::optional<rs::CredentialsRequest> next = events->take_credentials()) return std::move(*next);
        }
    };
    const auto ends = [&] {
        for (;;)
            for (rs::Completion &done : queue.poll(10, 10ms)) return std::move(done).try_reply();
    };
    client.submit(queue, 1, {"ACL", "WHOAMI"});
    rs::CredentialsRequest first = request();
    CHECK(first.node() == std::string_view(server_url(one)).substr(7));
    CHECK(!events->take_credentials());
    first.answer({"first", "cpp"});
    CHECK(ends().value().as<std::string>() == "cpp");
    rs::TakenEvents taken = events->take();
    CHECK_INT(taken.dropped, 0);
    CHECK_INT(taken.events.size(), 1);
    CHECK(taken.events[0].kind == RS_EVENT_CONNECTED && taken.events[0].level == RS_LOG_LEVEL_INFO);
    CHECK(taken.events[0].node == std::string(server_url(one)).substr(7) && !taken.events[0].message.empty());
    CHECK(events->take().events.empty());
    // One that is wrong, one that is refused, one that is dropped: each ends the attempt.
    int number = 0;
    for (const char *const why : {"username", "the vault is sealed", "the request was dropped"}) {
        admin.command({"CLIENT", "KILL", "USER", "cpp"});
        rs::Result<rs::Reply> reply = rs::Error(nullptr);
        do { // the first may be lost with the old connection
            client.submit(queue, 1, {"PING"});
            std::optional<rs::CredentialsRequest> next;
            std::vector<rs::Completion> done;
            while (!next && done.empty()) done = queue.poll(10, 10ms), next = events->take_credentials();
            if (next && number == 0)
                CHECK_INT(next->try_answer({"first", ""}).error().status(), RS_ERR_INVALID_ARGUMENT);
            if (next && number == 1) next->refuse(why);
            next.reset();
            reply = done.empty() ? ends() : std::move(done[0]).try_reply();
        } while (reply.error().status() != RS_ERR_AUTH);
        CHECK_HOLDS(reply.error().what(), why);
        number++;
    }
    CHECK(!events->take().events.empty());
    // Without it nobody is asked.
    events.reset();
    admin.command({"CLIENT", "KILL", "USER", "cpp"});
    while (client.try_command({"PING"}).error().status() != RS_ERR_AUTH) {}
    CHECK_INT(rs::Events::try_new(0, queue).error().status(), RS_ERR_INVALID_ARGUMENT);
}

static void administration_and_stats() {
    rs::Client client(server_url(two));
    rs::Script script(client, "return 1");
    client.script_load(script);
    const std::vector<bool> exists = client.script_exists({script.sha(), std::string(40, '0')});
    CHECK(exists.size() == 2 && exists[0] && !exists[1]);
    CHECK(client.script_exists({}).empty());
    const rs::Result<rs::Reply> shown = client.try_script_show(script.sha());
    if (shown) CHECK(shown->string() == "return 1"); // Valkey 8
    else CHECK_INT(shown.error().status(), RS_ERR_NOT_SUPPORTED);
    const rs::Stats before = client.stats();
    script.call({}, {});
    const rs::Stats after = client.stats();
    CHECK_INT(after.calls - before.calls, 1);
    CHECK_INT(after.round_trips - before.round_trips, 1);
    CHECK(after.bytes_sent > before.bytes_sent && after.bytes_received > before.bytes_received);
    CHECK(after.in_flight == 0 && after.reconnects == 0 && after.redirects == 0 && after.noscript_repairs == 0);
    rs::CallOptions patient;
    patient.timeout = 2s;
    rs::Client view = client.with(patient);
    view.close();
    CHECK_INT(client.try_command({"PING"}).error().status(), RS_ERR_CLOSED);
    CHECK_TEXT(rs::version(), RS_VERSION);
}

// Whether an error's text holds this; the error may be a temporary.
static bool says(const rs::Error &error, std::string_view part) {
    return std::string_view(error.what()).find(part) != std::string_view::npos;
}

static void routes_and_urls() {
    rs::Client client(server_tcp_url(two));
    rs::Script script("return 7");
    const std::string_view address = std::string_view(server_tcp_url(two)).substr(8);
    // A single server is where they all lead.
    for (const rs::Route &route : {rs::Route(), rs::Route::any(), rs::Route::key(std::string_view("a\0b", 3)),
                                   rs::Route::key({}), rs::Route::slot(16383), rs::Route::node(address)}) {
        rs::CallOptions options;
        options.route = route;
        const rs::Client view = client.with(options);
        CHECK(script.call(view, {}, {}).integer() == 7 && script.call(client, {}, {}, options).integer() == 7);
        options.read_only = true;
        options.read_from = RS_READ_FROM_PREFER_REPLICA;
        CHECK(script.call(client, {}, {}, options).integer() == 7 &&
              client.command({"ECHO", 7}, options).as<int>() == 7);
    }
    rs::CallOptions all, wrong_slot, nobody, unknown;
    all.route = rs::Route::all();
    wrong_slot.route = rs::Route::slot(16384);
    nobody.route = rs::Route::node("nobody");
    unknown.read_from = 4;
    const rs::Reply everyone = client.command({"ECHO", "hello"}, all);
    CHECK(everyone.type() == RS_REPLY_MAP && everyone.size() == 2);
    CHECK(everyone[0].string() == address && everyone[1].string() == "hello");
    CHECK_INT(client.with(all).pipeline().command({"PING"}).try_exec().error().status(), RS_ERR_NO_ROUTE);
    CHECK_INT(client.pipeline().command({"PING"}).try_exec(all).error().status(), RS_ERR_NO_ROUTE);

    for (const rs::CallOptions &wrong : {wrong_slot, nobody, unknown}) {
        CHECK_INT(thrown_by([&] { (void)client.with(wrong); }).status(), RS_ERR_INVALID_ARGUMENT);
        CHECK_INT(client.try_command({"PING"}, wrong).error().status(), RS_ERR_INVALID_ARGUMENT);
    }
    rs::Client moved = std::move(client);
    CHECK_INT(client.try_with(all).error().status(), RS_ERR_INVALID_ARGUMENT);

    rs::Options lazy;
    lazy.lazy_connect(true)
        .client_info(false)
        .probe_transactions(false)
        .read_from(RS_READ_FROM_REPLICA)
        .map_address("10.0.0.1:1", "[::1]:2");
    CHECK(rs::Client::try_open("redis+cluster://a,b:7000", lazy).has_value());
    lazy.sentinel_username("watcher");
    CHECK(says(rs::Client::try_open("redis+sentinel://a/service", lazy).error(), "sentinel_password"));
    lazy.sentinel_password(std::string_view("p\0q", 3));
    CHECK(rs::Client::try_open("redis+sentinel://a/service", lazy).has_value());
    CHECK(says(*rs::Options().read_from(4).error(), "read_from"));
    CHECK(says(*rs::Options().map_address("a", "b:1").error(), "map_address"));
    CHECK(says(*rs::Options().sentinel_username("").error(), "sentinel_username"));
}

// What these headers have copied of a password, or were given by a function, is overwritten.
static void passwords_are_overwritten() {
    static const std::string password(100, 'p');
    rs::Options options;
    options.lazy_connect(true);
    const std::string url = "redis://user:" + password + "@127.0.0.1:1";
    watched = password;
    CHECK(rs::Client::try_open(url, options).has_value());
    CHECK_INT(holders.load(), 1);
    CHECK_INT(freed_with_it.load(), 0);
    options.credentials([](std::string_view) { return rs::Credentials{password}; });
    CHECK(rs::Client(server_url(one), options).try_command({"PING"}).has_value());
    CHECK(holders > 1);
    CHECK_INT(freed_with_it.load(), 0);
    watched = {};
}

static void threads() {
    rs::Client client(server_url(one));
    rs::Script script(client, "return ARGV[1] + 1");
    std::vector<std::thread> threads;
    for (int id = 0; id < 4; ++id)
        threads.emplace_back([&, id] {
            for (int i = 0; i < 100; ++i) CHECK_INT(script.call({}, {std::to_string(id)}).integer(), id + 1);
        });
    for (std::thread &thread : threads) thread.join();
}

int main() {
    one = server_start();
    two = server_start();
    RUN(two_servers);
    RUN(lists_of_every_kind);
    RUN(no_heap_for_few_arguments);
    RUN(replies);
    RUN(moving);
    RUN(exceptions_and_results);
    RUN(pipelines_and_transactions);
    RUN(pipelines_that_fail);
    RUN(a_pipeline_that_breaks_half_way);
    RUN(calls_that_happen_once);
    RUN(options_and_log);
    RUN(calls_and_figures);
    RUN(credentials_by_callback);
    RUN(events_and_requests_that_are_fetched);
    RUN(administration_and_stats);
    RUN(routes_and_urls);
    RUN(passwords_are_overwritten);
    RUN(threads);
}
