#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "asker.h"

test_host_t *reader(const char *bootstrap) {
        const char *const properties[] = READER_PROPERTIES(bootstrap);
        test_host_t *host = test_host_new();
        assert_string_equal(test_open(host, "reader", properties), "ok");
        return host;
}

const char *ask(test_host_t *host, unsigned command, const char *name, int64_t millis) {
        cr_writer_t out = cr_writer();
        const char *answer;
        cr_write_tuple(&out, 4);
        cr_write_text(&out, "asked");
        cr_write_text(&out, name);
        cr_write_integer(&out, 0);
        cr_write_integer(&out, millis);
        answer = test_command(host, command, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
        return answer;
}
