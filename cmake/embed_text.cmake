# Writes OUTPUT, a C++ file that holds the text of each of FILES, named by its path below FOLDER (see
# templates/embedded.h).
# A raw string literal is limited to 64 KB by some compilers; templates are far smaller.
set(entries "")
foreach(file IN LISTS FILES)
  file(RELATIVE_PATH name ${FOLDER} ${file})
  file(READ ${file} text)
  string(LENGTH "${text}" length)
  if(length GREATER 60000)
    message(FATAL_ERROR "${file}: ${length} bytes, a raw string literal takes 60000")
  endif()
  string(APPEND entries "    {\"${name}\", R\"template~(${text})template~\"},\n")
endforeach()
file(WRITE ${OUTPUT} "#include \"templates/embedded.h\"

namespace mhcjit::templates {
namespace {

constexpr EmbeddedTemplate table[] = {
${entries}};

}  // namespace

std::span<const EmbeddedTemplate> embedded_templates() { return table; }

}  // namespace mhcjit::templates
")
