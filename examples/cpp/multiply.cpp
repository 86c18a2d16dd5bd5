// One script on two servers: multiply redis://127.0.0.1:6379 redis://127.0.0.1:6380
//
// Sets `foo` to 2 on the first and to 3 on the second server, and has both multiply it by 5; then the first server
// forgets the script, and multiplies again nevertheless. Prints 10, 15 and 10.
#include <iostream>

#include <rs_script.hpp>

int main(int argc, char **argv) try {
    if (argc != 3) {
        std::cerr << "usage: " << argv[0] << " URL URL\n";
        return 2;
    }
    rs::Client first(argv[1]), second(argv[2]);
    rs::Script multiply(first, "return redis.call('GET', KEYS[1]) * ARGV[1]");
    first.command({"SET", "foo", "2"});
    second.command({"SET", "foo", "3"});

    std::cout << multiply.call({"foo"}, {"5"}).integer() << '\n'; // on the client that it was registered with
    std::cout << multiply.call(second, {"foo"}, {"5"}).integer() << '\n';

    first.script_flush(RS_FLUSH_SYNC);
    std::cout << multiply.call({"foo"}, {"5"}).integer() << '\n';
} catch (const rs::Error &error) {
    std::cerr << error.status_name() << ": " << error.what() << '\n';
    return 1;
}
