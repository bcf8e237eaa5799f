// The cache commands as an operator uses them: what they list is what is there, what they remove is what was named, a
// dry run changes nothing, and a bad entry is found.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/cache/sample.h"
#include "tests/tools/cli.h"

namespace mhcjit::test {
namespace {

cache::Sample of_kernel(const std::string& kernel, const std::string& problem, const std::string& architecture) {
  cache::Sample made = cache::sample(1, 1, architecture);
  made.key = cache::CacheKey();
  made.key.add("kernel", kernel);
  made.key.add("problem", problem + " " + architecture);
  made.key.add("architecture", architecture);
  made.entry.key_text = made.key.text();
  made.entry.created_unix_seconds = std::time(nullptr) - 3 * 3600;
  made.entry.kernels[0].resources.registers = 96;
  made.entry.kernels[1].resources.registers = 168;
  return made;
}

class CliCache : public testing::Test {
 protected:
  CliCache() {
    cache::Options options;
    options.flush = false;
    cache::DiskCache folder(cli_.cache(), options);
    for (const cache::Sample& one : all_) EXPECT_TRUE(folder.publish(one.key, one.entry));
  }

  std::string path(std::size_t entry) const { return cli_.cache() + "/" + cache::entry_name(all_[entry].key); }
  bool has(std::size_t entry) const { return std::filesystem::exists(path(entry)); }
  std::string digest(std::size_t entry) const { return all_[entry].key.digest(); }

  void set_age(std::size_t entry, std::int64_t seconds) const {
    const timespec times[2] = {{0, UTIME_OMIT}, {std::time(nullptr) - seconds, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path(entry).c_str(), times, 0), 0);
  }

  void damage(std::size_t entry) const {
    std::string bytes = read_file(path(entry));
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    write_file(path(entry), bytes);
  }

  // The digests that `cache ls --match TERMS` names.
  std::set<std::string> named(const std::string& terms) const {
    const CliResult result = cli_("cache ls --json" + (terms.empty() ? "" : " --match " + terms));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::set<std::string> digests;
    const llvm::json::Object object = json_of(result);
    for (const llvm::json::Value& entry : *object.getArray("entries"))
      digests.insert(entry.getAsObject()->getString("digest")->str());
    return digests;
  }

  std::set<std::string> digests(const std::vector<std::size_t>& entries) const {
    std::set<std::string> made;
    for (const std::size_t entry : entries) made.insert(digest(entry));
    return made;
  }

  const std::vector<cache::Sample> all_ = {
      of_kernel("mhcjit_pre_forward_one_pass", "pre_forward n=4 D=4096 bf16", "sm_90a"),
      of_kernel("mhcjit_pre_backward_dx", "pre_backward n=4 D=4096 bf16", "sm_90a"),
      of_kernel("mhcjit_pre_forward_apply", "pre_forward n=2 D=40960 fp32", "sm_80"),
      of_kernel("mhcjit_pre_forward_apply", "pre_forward n=4 D=4096 bf16", "sm_80")};
  Cli cli_;
};

TEST_F(CliCache, LsShowsWhatIsThere) {
  set_age(0, 5 * 60);
  const CliResult json = cli_("cache ls --json --match op=pre_forward,arch=sm_90a");
  ASSERT_EQ(json.exit_code, 0) << json.err;
  const llvm::json::Object object = json_of(json);
  EXPECT_EQ(object.getString("cache_dir"), cli_.cache());
  ASSERT_EQ(object.getArray("entries")->size(), 1u);
  const llvm::json::Object& entry = *(*object.getArray("entries"))[0].getAsObject();
  EXPECT_EQ(entry.getString("digest"), digest(0));
  EXPECT_EQ(entry.getString("kernel"), "mhcjit_pre_forward_one_pass");
  EXPECT_EQ(entry.getString("problem"), "pre_forward n=4 D=4096 bf16");
  EXPECT_EQ(entry.getString("architecture"), "sm_90a");
  EXPECT_EQ(entry.getInteger("registers"), 168);
  EXPECT_EQ(entry.getInteger("bytes"), static_cast<std::int64_t>(std::filesystem::file_size(path(0))));
  EXPECT_EQ(entry.getInteger("created_unix_seconds"), all_[0].entry.created_unix_seconds);
  EXPECT_NEAR(static_cast<double>(*entry.getInteger("last_used_unix_seconds")), std::time(nullptr) - 5 * 60, 60);

  const CliResult text = cli_("cache ls");
  EXPECT_EQ(text.exit_code, 0) << text.err;
  llvm::SmallVector<llvm::StringRef> lines;
  llvm::StringRef(text.out).split(lines, '\n', -1, false);
  EXPECT_EQ(lines.size(), 5u) << text.out;
  const auto line = std::find_if(lines.begin(), lines.end(),
                                 [&](llvm::StringRef each) { return each.starts_with(digest(0).substr(0, 12)); });
  ASSERT_NE(line, lines.end()) << text.out;
  for (const char* part : {"  mhcjit_pre_forward_one_pass  ", "  pre_forward n=4 D=4096 bf16  ", "  sm_90a  ", "  3h  ",
                           "  5m  ", " KiB  ", "  168"})
    EXPECT_NE(line->find(part), llvm::StringRef::npos) << part << " in " << line->str();
}

TEST_F(CliCache, MatchNamesEntriesByTheirKeysFields) {
  EXPECT_EQ(named(""), digests({0, 1, 2, 3}));
  EXPECT_EQ(named("n=4"), digests({0, 1, 3}));
  EXPECT_EQ(named("d=4096"), digests({0, 1, 3}));
  EXPECT_EQ(named("d=40960"), digests({2}));
  EXPECT_EQ(named("d=409"), digests({}));
  EXPECT_EQ(named("op=pre_forward"), digests({0, 2, 3}));
  EXPECT_EQ(named("dtype=fp32"), digests({2}));
  EXPECT_EQ(named("arch=sm_80"), digests({2, 3}));
  EXPECT_EQ(named("n=4,op=pre_forward,arch=sm_90a"), digests({0}));
  EXPECT_EQ(named(digest(2).substr(0, 9)), digests({2}));
  EXPECT_EQ(named(digest(2)), digests({2}));
  EXPECT_EQ(named("n=4," + digest(2).substr(0, 9)), digests({}));
}

// What a warm-up left, named by what it was asked for: its keys have the fields that the terms look at.
TEST_F(CliCache, MatchNamesWhatAWarmUpLeft) {
  const std::string shape = " --n 2 --d 64 --arch sm_90a --gamma --batch-invariant";
  const CliResult warm = cli_("warmup --dtype bf16,fp16" + shape);
  ASSERT_EQ(warm.exit_code, 0) << warm.err;
  EXPECT_EQ(named("n=2,arch=sm_90a").size(),
            named("n=2,d=64,op=pre_forward").size() + named("n=2,op=pre_backward").size());
  EXPECT_EQ(named("n=2,dtype=bf16").size(), named("n=2,dtype=fp16").size());
  const std::vector<std::string> backward = units_in(cli_("emit --op pre_backward --dtype bf16" + shape).out);
  ASSERT_GT(backward.size(), 1u);
  EXPECT_EQ(named("n=2,op=pre_backward,dtype=bf16").size(), backward.size());
  EXPECT_EQ(named("n=4"), digests({0, 1, 3}));
}

// Its name may be mistyped: to look like an empty folder, in which nothing is bad, would hide that.
TEST_F(CliCache, AnAbsentFolderIsAnErrorAndStaysAbsent) {
  const std::string folder = cli_.file("absent");
  for (const std::string command : {"ls", "stats", "verify", "prune", "clear", "export -o b.tar"}) {
    const CliResult result = cli_("cache " + command + " --json --cache-dir " + folder);
    EXPECT_EQ(result.exit_code, 1) << command;
    EXPECT_EQ(error_code_of(result), "MHCJIT_ERROR_IO");
    EXPECT_NE(result.err.find("the cache folder '" + folder + "' does not exist"), std::string::npos) << result.err;
    EXPECT_FALSE(std::filesystem::exists(folder));
  }
}

TEST_F(CliCache, AVariableThatIsNoAbsolutePathIsNamed) {
  cli_.environment["MHCJIT_CACHE_DIR"] = "~/cache";
  cli_.environment["XDG_CACHE_HOME"] = cli_.folder().path();
  ASSERT_TRUE(std::filesystem::create_directory(cli_.file("mhcjit")));
  const CliResult listed = cli_("cache stats --json");
  EXPECT_EQ(listed.exit_code, 0);
  EXPECT_EQ(listed.err,
            "mhcjit: MHCJIT_CACHE_DIR is '~/cache', allowed: an absolute path (no shell has replaced the ~: write "
            "$HOME); it is not used\n");
  EXPECT_EQ(json_of(listed).getString("cache_dir"), cli_.file("mhcjit"));
  EXPECT_EQ(cli_("cache stats --cache-dir cache").err, "") << "an option stands in place of the variable";
}

TEST_F(CliCache, StatsCountsWhatIsThere) {
  damage(2);
  write_file(cli_.cache() + "/" + digest(0) + ".0123456789abcdef.tmp", "cut");
  write_file(cli_.cache() + "/compiler_identity", "nvrtc 13.0 0a1b 2c3d\nnvrtc 12.9 4e5f 6a7b\n");
  const CliResult result = cli_("cache stats --json");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const llvm::json::Object stats = json_of(result);
  EXPECT_EQ(stats.getInteger("entries"), 4);
  EXPECT_EQ(stats.getArray("bad")->size(), 1u);
  EXPECT_EQ(stats.getInteger("max_entries"), 100000);
  EXPECT_EQ(stats.getInteger("max_bytes"), std::int64_t{2} << 30);
  EXPECT_EQ(stats.getInteger("leftovers"), 1);
  EXPECT_EQ(*stats.getArray("compilers"), (llvm::json::Array{"nvrtc 13.0 0a1b 2c3d", "nvrtc 12.9 4e5f 6a7b"}));
  std::int64_t bytes = 0;
  for (std::size_t entry = 0; entry < 4; ++entry)
    bytes += static_cast<std::int64_t>(std::filesystem::file_size(path(entry)));
  EXPECT_EQ(stats.getInteger("bytes"), bytes);
  EXPECT_EQ(stats.getObject("architectures")->getObject("sm_90a")->getInteger("entries"), 2);
  EXPECT_EQ(stats.getObject("architectures")->getObject("sm_80")->getInteger("entries"), 1);
  const CliResult text = cli_("cache stats");
  for (const char* part : {"4 of 100000 allowed, 1 bad", "of 2.0 GiB allowed", "sm_90a", "nvrtc 13.0", "nvrtc 12.9"})
    EXPECT_NE(text.out.find(part), std::string::npos) << text.out;
}

TEST_F(CliCache, VerifyFindsWhatIsBad) {
  const CliResult good = cli_("cache verify");
  EXPECT_EQ(good.exit_code, 0) << good.err;
  EXPECT_NE(good.out.find("4 sound, 0 bad"), std::string::npos) << good.out;

  damage(0);
  std::filesystem::rename(path(3), path(2));  // another key's entry under this name
  const CliResult bad = cli_("cache verify --json");
  EXPECT_EQ(bad.exit_code, 1);
  const llvm::json::Object object = json_of(bad);
  EXPECT_EQ(object.getInteger("sound"), 1);
  ASSERT_EQ(object.getArray("bad")->size(), 2u) << bad.out;
  for (const std::size_t entry : {0u, 2u}) EXPECT_NE(bad.err.find(digest(entry)), std::string::npos) << bad.err;
  EXPECT_TRUE(has(0) && has(2)) << "verify only looks";
}

TEST_F(CliCache, VerifyAndExportLookAtTheTagWhereThereIsAKey) {
  const std::string key = "0123456789abcdef0123456789abcdef", file = cli_.file("key");
  write_file(file, key);
  cache::Options tagged;
  tagged.hmac_key = key;
  EXPECT_TRUE(cache::DiskCache(cli_.cache(), tagged).publish(all_[1].key, all_[1].entry));
  EXPECT_EQ(cli_("cache verify").exit_code, 0) << "without a key the tags are passed over";

  cli_.environment["MHCJIT_CACHE_KEY_FILE"] = file;
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  const CliResult open_key = cli_("cache verify");
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  const CliResult bad = cli_("cache verify");
  const CliResult exported = cli_({"cache", "export", "--json", "-o", cli_.file("tagged.tar")});
  EXPECT_EQ(open_key.exit_code, 1);
  EXPECT_NE(open_key.err.find("chmod 600"), std::string::npos) << open_key.err;
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_NE(bad.out.find("1 sound, 3 bad"), std::string::npos) << bad.out;
  EXPECT_NE(bad.err.find("tag is absent"), std::string::npos) << bad.err;
  EXPECT_EQ(json_of(exported).getArray("exported")->size(), 1u) << exported.out;
}

TEST_F(CliCache, ImportLooksAtTheTagWhereThereIsAKey) {
  const std::string key = "0123456789abcdef0123456789abcdef", file = cli_.file("key");
  write_file(file, key);
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  ASSERT_EQ(cli_("cache export -o none.tar").exit_code, 0);
  cache::Options tagged;
  tagged.hmac_key = key;
  EXPECT_TRUE(cache::DiskCache(cli_.cache(), tagged).publish(all_[1].key, all_[1].entry));
  ASSERT_EQ(cli_({"cache", "export", "--match", digest(1), "-o", "tagged.tar"}).exit_code, 0);

  cli_.environment["MHCJIT_CACHE_KEY_FILE"] = file;
  const std::string there = cli_.file("there");
  for (const char* option : {"", " --dry-run"}) {
    const CliResult refused = cli_(fmt::format("cache import tagged.tar none.tar --cache-dir {}{}", there, option));
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_NE(refused.err.find("bundle 'none.tar' is not imported"), std::string::npos) << refused.err;
    EXPECT_NE(refused.err.find("tag is absent"), std::string::npos) << refused.err;
  }
  EXPECT_EQ(cache::names_ending(there, ""), std::vector<std::string>{digest(1) + ".mhcjit"});
  EXPECT_EQ(cli_("cache verify --cache-dir " + there).exit_code, 0);
}

TEST_F(CliCache, PruneTrimsToTheLimits) {
  for (std::size_t entry = 0; entry < 4; ++entry) set_age(entry, static_cast<std::int64_t>(1000 * (entry + 1)));
  const std::string command = "cache prune --max-entries 3 --json";
  const llvm::json::Object dry = json_of(cli_(command + " --dry-run"));
  EXPECT_EQ(dry.getBoolean("dry_run"), true);
  EXPECT_EQ(*dry.getArray("removed"), (llvm::json::Array{digest(3)}));
  EXPECT_TRUE(has(3));
  const CliResult result = cli_(command);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const llvm::json::Object wet = json_of(result);
  EXPECT_EQ(wet.getBoolean("dry_run"), false);
  EXPECT_EQ(*wet.getArray("removed"), (llvm::json::Array{digest(3)}));
  EXPECT_TRUE(has(0) && has(1) && has(2) && !has(3));

  EXPECT_EQ(cli_("cache prune --max-bytes 1K").exit_code, 0);
  EXPECT_FALSE(has(0) || has(1) || has(2));
}

TEST_F(CliCache, ClearRemovesWhatIsNamedOrAll) {
  write_file(cli_.cache() + "/notes", "not the cache's");
  EXPECT_TRUE(cache::DiskCache(cli_.cache()).find(all_[0].key, all_[0].entry.architecture));
  const std::string leftover = cli_.cache() + "/" + digest(0) + ".0123456789abcdef.bad";
  write_file(leftover, "set aside");
  write_file(cli_.cache() + "/" + digest(0) + ".pre_forward.cu", "refused");
  EXPECT_EQ(cli_("cache clear --dry-run").exit_code, 0);
  EXPECT_EQ(cli_("cache clear --match arch=sm_80 --dry-run").exit_code, 0);
  for (std::size_t entry = 0; entry < 4; ++entry) EXPECT_TRUE(has(entry));

  const CliResult some = cli_("cache clear --match arch=sm_80");
  EXPECT_EQ(some.exit_code, 0) << some.err;
  EXPECT_NE(some.out.find("removed 2 of 2 entries"), std::string::npos) << some.out;
  EXPECT_TRUE(has(0) && has(1) && !has(2) && !has(3) && std::filesystem::exists(leftover));

  const llvm::json::Object all = json_of(cli_("cache clear --json"));
  EXPECT_EQ(all.getArray("removed")->size(), 2u);
  EXPECT_EQ(all.getInteger("removed_leftovers"), 2);
  EXPECT_EQ(cache::names_ending(cli_.cache(), ""), std::vector<std::string>{"notes"});
}

TEST_F(CliCache, ExportAndImportCarryWhatIsNamed) {
  write_file(cli_.cache() + "/compiler_identity", "nvrtc 13.0 0a1b 2c3d\nnvrtc 12.9 4e5f 6a7b\n");
  EXPECT_TRUE(cache::DiskCache(cli_.cache()).find(all_[2].key, all_[2].entry.architecture)) << "hits stay here";
  const CliResult exported = cli_("cache export --match arch=sm_80 -o b.tar --json");
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  EXPECT_EQ(json_of(exported).getArray("exported")->size(), 2u);
  // The system's tar reads it too.
  const CliResult listed = cli_.shell("tar -tf b.tar");
  EXPECT_EQ(listed.exit_code, 0) << listed.err;
  std::string expected = "compiler_identity\n";
  for (const std::string& name : std::set{digest(2) + ".mhcjit", digest(3) + ".mhcjit"}) expected += name + "\n";
  EXPECT_EQ(listed.out, expected);

  const std::string there = " --json --cache-dir " + cli_.file("there");
  EXPECT_EQ(cli_("cache import b.tar --dry-run" + there).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(cli_.file("there")));
  for (const std::size_t imported : {2u, 0u}) {
    const CliResult result = cli_("cache import b.tar" + there);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const llvm::json::Object object = json_of(result);
    const llvm::json::Object& bundle = *(*object.getArray("bundles"))[0].getAsObject();
    EXPECT_EQ(bundle.getArray("imported")->size(), imported);
    EXPECT_EQ(bundle.getInteger("already_there"), 2 - static_cast<std::int64_t>(imported));
    EXPECT_EQ(*bundle.getArray("compilers"), (llvm::json::Array{"nvrtc 13.0 0a1b 2c3d", "nvrtc 12.9 4e5f 6a7b"}));
  }
  EXPECT_EQ(cli_("cache verify" + there).exit_code, 0);
  EXPECT_EQ(read_file(cli_.file("there") + "/" + digest(2) + ".mhcjit"), read_file(path(2)));
  // What the system's tar writes in the same format is a bundle as well.
  EXPECT_EQ(cli_.shell("cd cache && tar --format=ustar -cf ../own.tar *.mhcjit").exit_code, 0);
  EXPECT_EQ(cli_("cache import own.tar" + there).exit_code, 0);
  EXPECT_EQ(cache::names_ending(cli_.file("there"), ".mhcjit").size(), 4u);
}

// Whatever the name: it may be one that the cache keeps something under.
TEST_F(CliCache, ExportDoesNotWriteIntoTheCacheFolder) {
  const std::string record = "nvrtc 13.0 0a1b 2c3d\n";
  write_file(cli_.cache() + "/compiler_identity", record);
  std::filesystem::create_directory_symlink(cli_.cache(), cli_.file("link"));
  for (const std::string& file : {std::string("cache/compiler_identity"), path(0), cli_.cache() + "/./compile.lock",
                                  std::string("link/kernels.tar")}) {
    const CliResult refused = cli_({"cache", "export", "--json", "-o", file});
    EXPECT_EQ(refused.exit_code, 2) << file;
    EXPECT_EQ(error_code_of(refused), "MHCJIT_ERROR_INVALID_ARGUMENT");
    EXPECT_NE(refused.err.find("-o is '" + file + "', a file in the cache folder"), std::string::npos) << refused.err;
  }
  const CliResult inside = cli_.shell("cd cache && mhcjit cache export -o compiler_identity");
  EXPECT_EQ(inside.exit_code, 2) << inside.err;
  EXPECT_EQ(read_file(cli_.cache() + "/compiler_identity"), record);
  EXPECT_EQ(cli_("cache verify").exit_code, 0);
  EXPECT_EQ(cache::names_ending(cli_.cache(), "").size(), 5u);
}

TEST_F(CliCache, ExportLeavesABadEntryOutAndSaysSo) {
  damage(0);
  const CliResult result = cli_("cache export -o b.tar --json");
  EXPECT_EQ(result.exit_code, 1);
  const llvm::json::Object object = json_of(result);
  EXPECT_EQ(object.getArray("exported")->size(), 3u);
  EXPECT_EQ(object.getArray("bad")->size(), 1u);
  EXPECT_NE(result.err.find(digest(0)), std::string::npos) << result.err;
  EXPECT_EQ(cli_("cache import b.tar --cache-dir " + cli_.file("there")).exit_code, 0);
}

TEST_F(CliCache, ExportOfNothingAndImportOfDamageFail) {
  const CliResult none = cli_("cache export --match d=8 -o b.tar --json");
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_EQ(error_code_of(none), "MHCJIT_ERROR_IO");
  EXPECT_FALSE(std::filesystem::exists(cli_.file("b.tar")));

  write_file(cli_.file("b.tar"), "no archive");
  const CliResult bad = cli_("cache import b.tar --json");
  EXPECT_EQ(bad.exit_code, 1);
  const llvm::json::Object object = json_of(bad);
  EXPECT_EQ(object.getArray("bundles")->size(), 0u);
  ASSERT_EQ(object.getArray("errors")->size(), 1u);
  EXPECT_EQ((*object.getArray("errors"))[0].getAsObject()->getString("code"), "MHCJIT_ERROR_BAD_FILE");
}

TEST_F(CliCache, ABundleThatIsRefusedHidesNothingOfTheOthers) {
  ASSERT_EQ(cli_("cache export --match arch=sm_80 -o first.tar").exit_code, 0);
  ASSERT_EQ(cli_("cache export --match arch=sm_90a -o last.tar").exit_code, 0);
  write_file(cli_.file("bad.tar"), "no archive");
  const std::string command = "cache import first.tar bad.tar last.tar --cache-dir there";
  const CliResult result = cli_(command + " --json");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("mhcjit: bundle 'bad.tar' is not imported: "), std::string::npos) << result.err;
  const llvm::json::Object object = json_of(result);
  ASSERT_EQ(object.getArray("bundles")->size(), 2u);
  for (const auto& [at, name] : std::map<std::size_t, std::string>{{0, "first.tar"}, {1, "last.tar"}}) {
    const llvm::json::Object& bundle = *(*object.getArray("bundles"))[at].getAsObject();
    EXPECT_EQ(bundle.getString("bundle"), name);
    EXPECT_EQ(bundle.getArray("imported")->size(), 2u);
  }
  EXPECT_EQ((*object.getArray("errors"))[0].getAsObject()->getString("bundle"), "bad.tar");
  EXPECT_EQ(cache::names_ending(cli_.file("there"), ".mhcjit").size(), 4u);

  const CliResult text = cli_(command);
  EXPECT_EQ(text.exit_code, 1);
  EXPECT_EQ(text.out,
            "first.tar: imported 0 entries, 2 were there, cache folder there\n"
            "last.tar: imported 0 entries, 2 were there, cache folder there\n");
}

TEST_F(CliCache, ABundleGoesWhereALinkLeadsAndStaysPrivate) {
  write_file(cli_.file("kept.tar"), "old");
  ASSERT_EQ(::chmod(cli_.file("kept.tar").c_str(), 0600), 0);
  std::filesystem::create_symlink("kept.tar", cli_.file("b.tar"));
  ASSERT_EQ(cli_("cache export -o b.tar").exit_code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(cli_.file("b.tar")));
  struct stat status = {};
  ASSERT_EQ(::stat(cli_.file("kept.tar").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_EQ(cli_("cache import kept.tar --cache-dir there").exit_code, 0);

  const CliResult fifo = cli_.shell("mkfifo fifo; mhcjit cache export -o fifo");
  EXPECT_EQ(fifo.exit_code, 1);
  EXPECT_NE(fifo.err.find("cannot write 'fifo': it is not a regular file"), std::string::npos) << fifo.err;
}

TEST_F(CliCache, FolderThatOthersMayWriteIsRefused) {
  std::filesystem::permissions(cli_.cache(), std::filesystem::perms::all);
  for (const std::string command : {"ls", "stats", "verify", "prune", "clear", "export -o b.tar"}) {
    const CliResult result = cli_("cache " + command + " --json");
    EXPECT_EQ(result.exit_code, 1) << command;
    EXPECT_EQ(error_code_of(result), "MHCJIT_ERROR_BAD_FILE");
  }
  EXPECT_TRUE(has(0));
}

TEST_F(CliCache, WrongUsageIsExitCode2AndSaysWhatIsAllowed) {
  const std::map<std::string, std::string> wrong = {
      {"cache", "command is 'cache', allowed: "},
      {"cache list", "cache ls, cache stats"},
      {"cache ls --match n", "--match n is missing"},
      {"cache ls --match n=x", "--match n is 'x', allowed: an integer of 1 to 16"},
      {"cache ls --match m=4", "--match has the term 'm=4', allowed: op=, n=, d="},
      {"cache ls --match ab,cd", "--match has the term 'cd'"},
      {"cache ls --match gamma=1", "--match has the term 'gamma=1'"},
      {"cache clear --match arch=90", "architecture is '90'"},
      {"cache ls --dry-run", "options of cache ls: --cache-dir, --json, --match"},
      {"cache prune --max-bytes 2X", "--max-bytes is '2X', allowed: an integer, with K, M, G or T"},
      {"cache prune --max-bytes 9999999999T", "--max-bytes is '9999999999T'"},
      {"cache export --match n=4", "-o is missing"},
      {"cache import", "no bundle is named"},
      {"cache prune --max-entries -1", "--max-entries is '-1'"},
  };
  for (const auto& [arguments, text] : wrong) {
    const CliResult result = cli_(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_NE(result.err.find(text), std::string::npos) << arguments << ": " << result.err;
    EXPECT_EQ(result.out, "");
  }
  EXPECT_TRUE(has(0) && has(1) && has(2) && has(3));
}

// The commands of each help text, as a user would paste them.
TEST_F(CliCache, ExamplesOfTheHelpRun) {
  for (const std::string command : {"ls", "stats", "verify", "prune", "export", "import", "clear"})
    expect_examples_run(cli_, "cache " + command);
}

}  // namespace
}  // namespace mhcjit::test
