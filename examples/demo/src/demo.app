{application, demo, [
    {description, "A text is streamed through Kafka and its words are counted by a group"},
    {vsn, "0.1.0"},
    {modules, [
        demo, demo_app, demo_clients_sup, demo_counter, demo_display, demo_handler, demo_partition,
        demo_source, demo_sup, demo_text, demo_verdict
    ]},
    {registered, [
        demo_sup, demo_clients_sup, demo_cluster, demo_counter, demo_display, demo_producer
    ]},
    {applications, [kernel, stdlib, crema]},
    {mod, {demo_app, []}}
]}.
