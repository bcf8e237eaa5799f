#include <filesystem>

#include "cache/bundle.h"

#include "tools/cache_options.h"
#include "tools/entry_match.h"
#include "tools/options.h"
#include "tools/output_file.h"

namespace mhcjit::tools {
namespace {

using namespace cache_options;

struct Exported {
  std::vector<std::string> digests;
  std::vector<std::string> bad;
};

llvm::Error fill(const std::string& root, const EntryMatch& matches, cache::BundleWriter& writer, Exported& exported) {
  auto store = open_store(root);
  if (!store) return store.takeError();
  auto scan = cache::scan_store(root);
  if (!scan) return scan.takeError();
  if (const auto compilers = cache::read_compiler_record(root); !compilers.empty()) writer.add_compilers(compilers);
  for_each_match(
      **store, scan->entries, matches,
      [&](const std::string& digest, const cache::StoredEntry& entry, const cache::StoredFile&) {
        writer.add(digest, entry);
        exported.digests.push_back(digest);
      },
      [&](const std::string& name, const std::string& reason) {
        exported.bad.push_back(fmt::format("{}: {}", name, reason));
      });
  if (!exported.digests.empty()) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_IO, "no sound entry of {} in the cache folder '{}' matches '{}': see mhcjit cache ls",
                    scan->entries.size(), root, std::string(match));
}

// A bundle there would replace whatever the cache keeps under its name.
llvm::Error check_outside(const std::string& file, const std::string& root) {
  const std::filesystem::path parent = std::filesystem::path(file).parent_path();
  std::error_code absent;
  if (!std::filesystem::equivalent(parent.empty() ? "." : parent, root, absent)) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "-o is '{}', a file in the cache folder '{}', allowed: a file in another folder", file, root);
}

llvm::Expected<Report> run_export() {
  auto path = required("-o", output);
  if (!path) return path.takeError();
  auto matches = EntryMatch::parse(match);
  if (!matches) return matches.takeError();
  auto root = folder();
  if (!root) return root.takeError();
  if (auto error = check_outside(*path, *root)) return error;
  auto file = OutputFile::create(*path);
  if (!file) return file.takeError();
  Exported exported;
  const auto fill_it = [&](cache::BundleWriter& writer) { return fill(*root, *matches, writer, exported); };
  if (auto error = cache::write_bundle(file->fd(), *path, fill_it)) return error;
  if (auto error = file->publish()) return error;
  for (const std::string& text : exported.bad) say(text + "; it is left out");
  Report report;
  report.exit_code = exported.bad.empty() ? exit_ok : exit_failed;
  report.text = fmt::format("exported {} entries to {}, {} bad, cache folder {}\n", exported.digests.size(), *path,
                            exported.bad.size(), *root);
  report.json = llvm::json::Object{
      {"cache_dir", *root}, {"bundle", *path}, {"exported", to_json(exported.digests)}, {"bad", to_json(exported.bad)}};
  return report;
}

llvm::json::Object to_json(const std::string& bundle, const cache::ImportReport& imported) {
  return llvm::json::Object{{"bundle", bundle},
                            {"imported", cache_options::to_json(imported.imported)},
                            {"already_there", static_cast<std::int64_t>(imported.already_there)},
                            {"compilers", cache_options::to_json(imported.compilers)}};
}

// A bundle that is refused does not stop those behind it: what is done does not depend on their order.
llvm::Expected<Report> run_import() {
  if (bundles.empty()) return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "no bundle is named, see --help");
  auto root = folder_to_fill();
  if (!root) return root.takeError();
  auto store = open_store(*root);
  if (!store) return store.takeError();
  Report report;
  llvm::json::Array made, errors;
  for (const std::string& bundle : bundles) {
    auto imported = cache::import_bundle(bundle, *root, **store, dry_run);
    if (!imported) {
      const Failure failure = take_failure(imported.takeError());
      say(failure.text);
      errors.push_back(llvm::json::Object{{"bundle", bundle},
                                          {"code", mhcjit_status_name(failure.status)},
                                          {"text", llvm::json::fixUTF8(failure.text)}});
      report.exit_code = exit_failed;
      continue;
    }
    report.text +=
        fmt::format("{}: {} {} entries, {} were there, cache folder {}\n", bundle,
                    dry_run ? "would import" : "imported", imported->imported.size(), imported->already_there, *root);
    made.push_back(to_json(bundle, *imported));
  }
  report.json = llvm::json::Object{{"cache_dir", *root},
                                   {"dry_run", static_cast<bool>(dry_run)},
                                   {"bundles", std::move(made)},
                                   {"errors", std::move(errors)}};
  return report;
}

}  // namespace

const Command& cache_export_command() {
  static const Command command = {
      export_bundle, "-o FILE [--match TERMS] [--cache-dir DIR] [--json]",
      "A bundle is a plain tar archive of the entries for which all of TERMS holds (see cache ls), and of the\n"
      "compilers of the folder, so that a machine without NVRTC can use them. A bad entry is left out, and\n"
      "the exit code is then 1. The same entries give the same bytes.",
      "  mhcjit cache export -o kernels.tar\n"
      "  mhcjit cache export --match n=4,arch=sm_90a -o kernels.tar --json",
      run_export};
  return command;
}

const Command& cache_import_command() {
  static const Command command = {
      import_bundle, "BUNDLE... [--dry-run] [--cache-dir DIR] [--json]",
      "Checks all of a bundle before it changes the folder: the archive, and every byte of every entry. A bundle in\n"
      "which anything is wrong changes nothing; the others are imported all the same, and the exit code is 1. What\n"
      "the folder has stays, so bundles may overlap and be imported twice. The compilers that a bundle names\n"
      "are added to the folder's. Where MHCJIT_CACHE_KEY_FILE names a key, an entry without a tag that is made with "
      "it\n"
      "is wrong too. Without one, import only what you trust: a check finds damage, not intent.",
      "  mhcjit cache import kernels.tar --dry-run\n"
      "  mhcjit cache import kernels.tar --cache-dir ./kernels --json",
      run_import};
  return command;
}

}  // namespace mhcjit::tools
