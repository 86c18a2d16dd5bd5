// Misuse that must not compile, one case a macro; without a macro all compiles.
#include <rs_script.hpp>

#include <string>
#include <vector>

// A range whose strings are gone when its iterator moves.
struct Temporaries {
    struct iterator {
        int i;
        std::string operator*() const { return std::to_string(i); }
        iterator &operator++() { return ++i, *this; }
        bool operator!=(iterator other) const { return i != other.i; }
    };
    iterator begin() const { return {0}; }
    iterator end() const { return {3}; }
};

void use(rs::Client &client, rs::Script &script) {
    std::vector<std::string> keys{"a"};
    rs::Client moved = std::move(client);
    rs::Reply reply = script.call(moved, keys, {"b"});
#ifdef COPIED_CLIENT
    rs::Client copy = moved;
#elif defined COPIED_REPLY
    rs::Reply copy = reply;
#elif defined STRING_AS_LIST
    script.call(keys, std::string("b"));
#elif defined TEMPORARY_STRINGS
    script.call(keys, Temporaries());
#elif defined STRING_OF_TEMPORARY
    std::string_view text = script.call(moved, keys, {"b"}).string();
#elif defined ELEMENT_OF_TEMPORARY
    std::string_view text = script.call(moved, keys, {"b"})[0].string();
#elif defined VIEW_OF_TEMPORARY
    rs::ReplyView view = script.call(moved, keys, {"b"});
#elif defined BOOL_AS_ARGUMENT
    script.call(keys, {true});
#elif defined VIEW_AS_VALUE
    reply.as<std::string_view>();
#endif
    (void)script.call(moved, keys, {"b", 5})[0].as<std::string>();
}
