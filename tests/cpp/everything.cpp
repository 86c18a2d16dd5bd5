// The templates of the headers, made use of so that a compiler looks at all of them. Compiled only.
#include <rs_script_async.hpp>

#include <list>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

void in(rs::Client &client);
void in(rs::Client &client) {
    const std::string text = "k";
    const std::vector<unsigned short> numbers{1, 2};
    const char *words[] = {"a", "b"};
    (void)client.try_command({"INCRBY", text, 5, 1.5, -1L, 'x' - 'a'});
    (void)client.try_command(numbers);
    (void)client.try_command(words);
    (void)client.try_command(std::list<std::string>{"PING"});
}

void out(const rs::Reply &reply);
void out(const rs::Reply &reply) {
    (void)reply.try_as<std::map<std::string, std::optional<long>>>();
    (void)reply.try_as<std::tuple<int, std::string, std::pair<double, bool>>>();
    (void)reply.try_as<std::vector<std::set<unsigned char>>>();
    (void)reply.try_as<std::unordered_map<std::string, float>>();
    (void)reply.try_as<std::list<std::uint64_t>>();
    for (rs::ReplyView element : reply) (void)element.string();
}

void later(rs::Dispatcher &dispatcher, rs::Script &script, rs::Client &client, rs::Pipeline &pipeline);
void later(rs::Dispatcher &dispatcher, rs::Script &script, rs::Client &client, rs::Pipeline &pipeline) {
    dispatcher.call(script, {"k"}, {1}, [](const rs::Result<rs::Reply> &) {});
    dispatcher.command(client, {"PING"}, [](const rs::Completion &) {});
    (void)dispatcher.exec(pipeline);
    (void)dispatcher.run_once(std::chrono::milliseconds(0));
}
