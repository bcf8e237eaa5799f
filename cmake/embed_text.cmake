# Writes OUTPUT, a C++ file that defines TABLE() of COMPONENT/embedded.h: the text of each of FILES as a TYPE, named by
# its path below FOLDER.
# Compilers limit the length of one string literal, but not of several behind one another.
set(piece_length 16000)
set(entries "")
foreach(file IN LISTS FILES)
  file(RELATIVE_PATH name ${FOLDER} ${file})
  file(READ ${file} text)
  string(LENGTH "${text}" length)
  string(APPEND entries "    {\"${name}\",")
  set(begin 0)
  while(begin LESS length)
    string(SUBSTRING "${text}" ${begin} ${piece_length} piece)
    string(APPEND entries " R\"text~(${piece})text~\"")
    math(EXPR begin "${begin} + ${piece_length}")
  endwhile()
  string(APPEND entries "},\n")
endforeach()
file(WRITE ${OUTPUT} "#include \"${COMPONENT}/embedded.h\"

namespace mhcjit::${COMPONENT} {
namespace {

constexpr ${TYPE} table[] = {
${entries}};

}  // namespace

std::span<const ${TYPE}> ${TABLE}() { return table; }

}  // namespace mhcjit::${COMPONENT}
")
