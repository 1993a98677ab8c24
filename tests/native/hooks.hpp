// What the driver changes about the core, by the linker's --wrap: nothing is compiled into the library for its tests.
#pragma once

namespace driver {

// Fresh scratch memory is filled with this byte, since whatever it holds may not reach a result. So are outputs.
void set_filling(unsigned char byte);
unsigned char filling();

}  // namespace driver
