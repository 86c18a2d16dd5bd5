// A thousand calls at once, each with a future. Prints "1000 calls, sum 500500".
#include <future>
#include <iostream>
#include <vector>

#include <rs_script_async.hpp>

int main(int argc, char **argv) try {
    rs::Client client(argc > 1 ? argv[1] : "redis://127.0.0.1:6379");
    rs::Script add(client, "return redis.call('INCRBY', KEYS[1], ARGV[1])");
    client.command({"DEL", "sum"});

    // A thread of its own sees to the futures, so this one may wait for them. For up to 1000 calls that are under way;
    // more are RS_ERR_QUEUE_FULL.
    rs::Dispatcher dispatcher(1000, rs::Dispatcher::Driver::own_thread);
    rs::CallOptions options;
    options.timeout = std::chrono::seconds(5);
    std::vector<std::future<rs::Reply>> calls;
    for (int number = 1; number <= 1000; ++number) calls.push_back(dispatcher.call(add, {"sum"}, {number}, options));

    long sum = 0;
    for (std::future<rs::Reply> &call : calls)
        sum = call.get().as<long>(); // or throws the rs::Error that it ended with
    std::cout << calls.size() << " calls, sum " << sum << '\n';
} catch (const rs::Error &error) {
    std::cerr << error.status_name() << ": " << error.what() << '\n';
    return 1;
}
