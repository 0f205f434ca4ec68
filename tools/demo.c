/* A little server with three workers. One of them meets a request without a name and follows a null pointer. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct request {
    const char *name;
    int size;
};

static struct request requests[] = {{"index.html", 4211}, {"logo.png", 18240}, {NULL, 77}};

static size_t measure(const struct request *request)
{
    return strlen(request->name) + (size_t)request->size;
}

static size_t serve(const struct request *request)
{
    return measure(request) + 1;
}

static void *worker(void *argument)
{
    const struct request *request = argument;
    if (request->name)
        for (;;)
            pause(); /* busy with its client, forever */
    usleep(100000);
    printf("%zu\n", serve(request));
    return NULL;
}

int main(void)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, worker, &requests[i]);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
