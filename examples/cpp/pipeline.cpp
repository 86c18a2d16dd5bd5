// Sets foo to 5 and multiplies it by 5, as a pipeline and as a transaction. Prints OK 25, twice.
#include <iostream>

#include <rs_script.hpp>

static void set_and_multiply(rs::Pipeline pipeline, const rs::Script &multiply) {
    pipeline.command({"SET", "foo", "5"}).script(multiply, {"foo"}, {"5"});
    const rs::Reply replies = pipeline.exec();
    for (rs::ReplyView reply : replies) // an item's error is its element
        if (auto error = reply.error()) throw *error;
    std::cout << replies[0].string() << ' ' << replies[1].integer() << '\n';
}

int main(int argc, char **argv) try {
    rs::Client client(argc > 1 ? argv[1] : "redis://127.0.0.1:6379");
    rs::Script multiply(client, "return redis.call('GET', KEYS[1]) * ARGV[1]");
    set_and_multiply(client.pipeline(), multiply);
    set_and_multiply(client.transaction(), multiply);
} catch (const rs::Error &error) {
    std::cerr << error.status_name() << ": " << error.what() << '\n';
    return 1;
}
