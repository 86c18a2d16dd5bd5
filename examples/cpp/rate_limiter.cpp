// A rate limiter: at most 100 requests a minute for each user, over all servers that ask the same Redis. Asks 1000
// times at once for one user and once for another. Prints "ann: 100 of 1000, then no more for up to a minute" and
// "bob: 99 left".
#include <chrono>
#include <iostream>
#include <string_view>
#include <tuple>

#include <rs_script_async.hpp>

// A fixed window: the first request opens it, and its key goes with it. Returns {whether it is allowed, how many are
// left, ms until the window ends}.
static constexpr std::string_view lua = R"(
    local count = redis.call('INCR', KEYS[1])
    if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
    local limit = tonumber(ARGV[1])
    return {count <= limit and 1 or 0, math.max(limit - count, 0), redis.call('PTTL', KEYS[1])}
)";

struct Verdict {
    bool allowed;
    int left;
    std::chrono::milliseconds until_reset;
};

// What as<Verdict>() makes of the script's reply.
template <> struct rs::Conversion<Verdict> {
    static rs::Result<Verdict> of(rs::ReplyView reply) {
        return reply.try_as<std::tuple<bool, int, long>>().transform([](const std::tuple<bool, int, long> &values) {
            return Verdict{std::get<0>(values), std::get<1>(values), std::chrono::milliseconds(std::get<2>(values))};
        });
    }
};

class RateLimiter {
public:
    RateLimiter(const rs::Client &client, int limit, std::chrono::milliseconds window)
        : script_(client, lua), limit_(limit), window_(window) {}

    // Waits for the verdict.
    Verdict ask(std::string_view user) const {
        return script_.call({key_of(user)}, {limit_, window_.count()}).as<Verdict>();
    }

    // Calls `done(rs::Result<Verdict>)` with it later.
    template <class Done> void ask(rs::Dispatcher &dispatcher, std::string_view user, Done done) const {
        dispatcher.call(script_, {key_of(user)}, {limit_, window_.count()},
                        [done = std::move(done)](rs::Result<rs::Reply> reply) mutable {
                            done(
                                std::move(reply).and_then([](const rs::Reply &got) { return got.try_as<Verdict>(); }));
                        });
    }

private:
    static std::string key_of(std::string_view user) { return "limit:" + std::string(user); }

    rs::Script script_;
    int limit_;
    std::chrono::milliseconds window_;
};

int main(int argc, char **argv) try {
    rs::Client client(argc > 1 ? argv[1] : "redis://127.0.0.1:6379");
    const RateLimiter limiter(client, 100, std::chrono::minutes(1));
    client.command({"DEL", "limit:ann", "limit:bob"});

    rs::Dispatcher dispatcher(1000);
    int asked = 0, allowed = 0;
    bool is_bounded = true;
    for (int i = 0; i < 1000; ++i)
        limiter.ask(dispatcher, "ann", [&](const rs::Result<Verdict> &verdict) {
            ++asked;
            // Redis cannot be asked: let them in rather than lock everybody out. That is for you to decide.
            if (!verdict || verdict->allowed) ++allowed;
            if (verdict && verdict->until_reset > std::chrono::minutes(1)) is_bounded = false;
        });
    dispatcher.run();
    std::cout << "ann: " << allowed << " of " << asked << (is_bounded ? ", then no more for up to a minute\n" : "\n");
    std::cout << "bob: " << limiter.ask("bob").left << " left\n";
} catch (const rs::Error &error) {
    std::cerr << error.status_name() << ": " << error.what() << '\n';
    return 1;
}
