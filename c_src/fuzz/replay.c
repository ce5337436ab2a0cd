/*
 * A fuzzer as an ordinary test: each file that is kept for it is one case. Those in
 * corpus/X reach all that fuzzing has reached, those in found/X have been a finding.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static bool replay(const char *path) {
        FILE *file = fopen(path, "rb");
        uint8_t *bytes;
        long size;
        if (!file)
                return false;
        fseek(file, 0, SEEK_END);
        size = ftell(file);
        rewind(file);
        bytes = malloc(size > 0 ? (size_t)size : 1);
        FUZZ_CHECK(size >= 0 && fread(bytes, 1, (size_t)size, file) == (size_t)size);
        fclose(file);
        printf("[ RUN      ] %s\n", path);
        (void)LLVMFuzzerTestOneInput(bytes, (size_t)size);
        printf("[       OK ] %s\n", path);
        free(bytes);
        return true;
}

static int replay_all(const char *folder, const char *target) {
        char path[512];
        DIR *files;
        struct dirent *file;
        int count = 0;
        snprintf(path, sizeof(path), "fuzz/%s/%s", folder, target);
        files = opendir(path);
        while (files && (file = readdir(files))) {
                snprintf(path, sizeof(path), "fuzz/%s/%s/%s", folder, target, file->d_name);
                if (file->d_name[0] != '.')
                        count += replay(path);
        }
        if (files)
                closedir(files);
        return count;
}

int main(int argc, char **argv) {
        const char *name = strrchr(argv[0], '/');
        (void)argc;
        name = (name ? name + 1 : argv[0]) + strlen("fuzz_");
        setvbuf(stdout, NULL, _IOLBF, 0);
        (void)replay_all("found", name);
        if (replay_all("corpus", name))
                return 0;
        fprintf(stderr, "there is nothing in fuzz/corpus/%s\n", name);
        return 1;
}
