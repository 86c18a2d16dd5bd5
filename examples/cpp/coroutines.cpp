// Three coroutines take turns on one thread, in an event loop of poll(2). C++20. Prints "a 3, b 3, c 3", and then that
// a call came too late.
#include <coroutine>
#include <exception>
#include <iostream>
#include <string>
#include <utility>

#include <poll.h>
#include <rs_script_async.hpp>

// A coroutine that starts at once and ends by itself. Any type of coroutine will do: those of your framework as well.
struct Task {
    struct promise_type {
        Task get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
};

static Task count(rs::Dispatcher &dispatcher, const rs::Script &add, std::string key, std::string &report) try {
    long last = 0;
    for (int i = 0; i < 3; ++i) {
        rs::Reply reply = co_await dispatcher.awaited(add, rs::list(key), rs::list(1)); // the others go on meanwhile
        last = reply.as<long>();
    }
    report += (report.empty() ? "" : ", ") + key + " " + std::to_string(last);
} catch (const rs::Error &error) {
    std::cerr << error.status_name() << ": " << error.what() << '\n';
}

// One without exceptions, for a command that nobody answers in time.
static Task wait(rs::Dispatcher &dispatcher, const rs::Client &client, std::string &report) {
    rs::CallOptions options;
    options.timeout = std::chrono::milliseconds(100);
    const rs::Result<rs::Reply> reply =
        co_await dispatcher.try_awaited(client, rs::list("BLPOP", "nothing", 0), options);
    report = reply ? "a reply" : reply.error().reason_name();
}

// An event loop, with one descriptor here. It and nobody else does the work.
static void loop(rs::Dispatcher &dispatcher) {
    while (dispatcher.size() > 0) {
        pollfd fd{dispatcher.fd(), POLLIN, 0};
        poll(&fd, 1, -1);
        dispatcher.run_once(std::chrono::milliseconds(0));
    }
}

int main(int argc, char **argv) try {
    rs::Client client(argc > 1 ? argv[1] : "redis://127.0.0.1:6379");
    rs::Script add(client, "return redis.call('INCRBY', KEYS[1], ARGV[1])");
    client.command({"DEL", "a", "b", "c"});
    rs::Dispatcher dispatcher(100, rs::Dispatcher::Driver::event_loop);
    std::string counts, late;
    for (const char *key : {"a", "b", "c"}) count(dispatcher, add, key, counts);
    loop(dispatcher);
    std::cout << counts << '\n';
    wait(dispatcher, client, late);
    loop(dispatcher);
    std::cout << late << '\n';
} catch (const rs::Error &error) {
    std::cerr << error.status_name() << ": " << error.what() << '\n';
    return 1;
}
