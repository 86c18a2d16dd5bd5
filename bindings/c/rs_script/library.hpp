// rs::Library: a library of functions, to be called with any client.

#ifndef RS_SCRIPT_LIBRARY_HPP
#define RS_SCRIPT_LIBRARY_HPP

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <rs_script/client.hpp>
#include <rs_script/detail.hpp>
#include <rs_script/error.hpp>
#include <rs_script/reply.hpp>
#include <rs_script/script.hpp>

namespace rs {

// What a library has beside its source.
struct LibraryOptions {
    // It keeps the names that are written in it, which others may call and replace; what is there is never replaced
    // but by Client::library_deploy. Without it the library is pinned: a digest of its source is put behind its name
    // and behind those of its functions, so that a name means one code, and any number of versions live side by side.
    Flag named = false;

    // The calls of its functions happen exactly once each, see RS_LIBRARY_ONCE: `{.once = rs::Once{}}`. Not of a named
    // one.
    std::optional<Once> once = {};
};

// A library of functions, immutable, usable with any client, server and thread:
//
//     rs::Library library(client, "#!lua name=orders\nredis.register_function('pay', function(keys, args) ... end)");
//     rs::Script pay = library.function("pay");
//     pay.call({"account"}, {30});
class Library {
public:
    // Makes a library of exactly these bytes, the first line `#!lua name=...`, with functions to be called on
    // `client`. No I/O; whether it compiles shows at the first call of one of them. It does not keep the client open.
    Library(const Client &client, std::string_view source, const LibraryOptions &options = {})
        : Library(try_register(client, source, options).value()) {}
    static Result<Library> try_register(const Client &client, std::string_view source,
                                        const LibraryOptions &options = {}) {
        if (!client.get()) return detail::moved_from("the client was");
        return register_with(client.get(), source, options);
    }

    // The same for no client in particular: each call names one.
    explicit Library(std::string_view source, const LibraryOptions &options = {})
        : Library(try_register(source, options).value()) {}
    static Result<Library> try_register(std::string_view source, const LibraryOptions &options = {}) {
        return register_with(nullptr, source, options);
    }

    // Takes ownership of a library of the C library.
    explicit Library(rs_library *library) noexcept : handle_(library) {}

    // Its name as servers know it: of a pinned one with the digest behind it.
    std::string name() const { return rs_library_name(handle_.get()); }

    // The function of this name, as it is registered in the source, to be called like a script (FCALL). The library is
    // loaded in front of its first call on a connection, in the same write, and again where a server has lost it. The
    // function goes on without this object. `options`: not as_function, and not once.
    //
    // Its calls may end with RS_ERR_NO_FUNCTION where the library does not register it or may not be loaded, with
    // RS_ERR_COMPILE where the library does not load; neither was executed.
    Script function(std::string_view name, const ScriptOptions &options = {}) const {
        return try_function(name, options).value();
    }
    Result<Script> try_function(std::string_view name, const ScriptOptions &options = {}) const {
        return detail::script_of(options, [&](const rs_script_options *native, rs_script **script, rs_error **error) {
            return rs_library_function(get(), name.data(), name.size(), native, script, error);
        });
    }

    // The handle, for functions of the C library; borrowed.
    const rs_library *get() const & noexcept RS_SCRIPT_LIFETIMEBOUND { return handle_.get(); }
    const rs_library *get() const && = delete;

private:
    static Result<Library> register_with(rs_client *client, std::string_view source, const LibraryOptions &options) {
        rs_library_options native = RS_LIBRARY_OPTIONS_INIT;
        if (options.named) native.flags |= RS_LIBRARY_NAMED;
        if (options.once) {
            native.flags |= RS_LIBRARY_ONCE;
            detail::set_once(*options.once, native);
        }
        rs_library *library = nullptr;
        rs_error *error = nullptr;
        if (rs_library_register(client, source.data(), source.size(), &native, &library, &error) != RS_OK)
            return Error(error);
        return Library(library);
    }

    detail::Handle<rs_library, rs_library_free> handle_;
};

inline Result<Reply> Client::try_library_load(const Library &library) const {
    rs_reply *done = nullptr;
    rs_error *error = nullptr;
    if (rs_client_library_load(get(), library.get(), &done, &error) != RS_OK) return Error(error);
    return Reply(done);
}

inline Result<Reply> Client::try_library_check(const Library &library) const {
    rs_reply *found = nullptr;
    rs_error *error = nullptr;
    if (rs_client_library_check(get(), library.get(), &found, &error) != RS_OK) return Error(error);
    return Reply(found);
}

inline Result<Reply> Client::try_library_deploy(const Library &library) const {
    rs_reply *done = nullptr;
    rs_error *error = nullptr;
    if (rs_client_library_deploy(get(), library.get(), &done, &error) != RS_OK) return Error(error);
    return Reply(done);
}

inline Result<Reply>
Client::try_library_prune(const std::vector<std::reference_wrapper<const Library>> &keep) const {
    std::vector<const rs_library *> handles;
    for (const Library &library : keep) handles.push_back(library.get());
    rs_reply *removed = nullptr;
    rs_error *error = nullptr;
    if (rs_client_library_prune(get(), handles.size(), handles.data(), &removed, &error) != RS_OK) return Error(error);
    return Reply(removed);
}

} // namespace rs

#endif // RS_SCRIPT_LIBRARY_HPP
