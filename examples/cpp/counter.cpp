// Counts how often it was run: prints 1, then 2, ...
#include <iostream>
#include <rs_script.hpp>

int main(int argc, char **argv) try {
    rs::Client client(argc > 1 ? argv[1] : "redis://127.0.0.1:6379");
    rs::Script count(client, "return redis.call('INCRBY', KEYS[1], ARGV[1])");
    std::cout << count.call({"runs"}, {1}).as<int>() << '\n';
} catch (const rs::Error &error) {
    std::cerr << error.status_name() << ": " << error.what() << '\n';
    return 1;
}
