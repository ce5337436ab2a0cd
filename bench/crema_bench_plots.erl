%% Which figures make up which plot. A plot is drawn of those that were measured.
-module(crema_bench_plots).

-export([plots/1]).

%% The files and what is in them.
-spec plots([crema_bench_table:row()]) -> [{File :: string(), iodata()}].
plots(Rows) ->
    [
        {File, crema_bench_svg:chart(Title, series(Panels), Panels)}
     || {File, Title, Wanted} <- families(),
        Panels <- [[P || W <- Wanted, P <- panel(W, Rows)]],
        Panels =/= []
    ].

%% {File, title, [{panel, figure, [{label, workload}]}]}
families() ->
    [
        {"produce.svg", "Producing from one process", [
            {values_of(Size), rate, [
                {"1 a call", "produce_one_" ++ Size},
                {"100 a call", "produce_many_" ++ Size},
                {"100 a call, C too", "produce_many_batch_" ++ Size},
                {"100, with reports", "produce_many_reports_" ++ Size}
            ]}
         || Size <- sizes()
        ]},
        {"callers.svg", "Many processes on one producer, beside one process (100 B)", [
            {messages(Batch), rate, [
                {callers(Count), "callers_" ++ Count ++ "_of_" ++ Batch} || Count <- counts()
            ]}
         || Batch <- ["1", "10"]
        ]}
        | [matrix(Size) || Size <- sizes()] ++ [sync(), consume(), latency(), cost()] ++ life()
    ].

sizes() -> ["100b", "1kb", "10kb"].

values_of("100b") -> "Values of 100 B";
values_of("1kb") -> "Values of 1 KB";
values_of("10kb") -> "Values of 10 KB".

counts() -> ["1", "4", "16", "32", "64"].

callers("1") -> "1 caller";
callers(Count) -> Count ++ " callers".

messages("1") -> "1 message a call";
messages(Count) -> Count ++ " messages a call".

matrix(Size) ->
    {"matrix_" ++ Size ++ ".svg", "Callers, beside as many threads of C: v" ++ tl(values_of(Size)), [
        {messages(Batch), rate, [
            {callers(Count), "matrix_" ++ Size ++ "_" ++ Count ++ "_of_" ++ Batch}
         || Count <- counts()
        ]}
     || Batch <- ["1", "10", "100"]
    ]}.

sync() ->
    Workloads = [{callers(Count), "sync_" ++ Count} || Count <- ["1", "8", "64"]],
    {"sync.svg", "Synchronous producing", [
        {"Messages per second", rate, Workloads},
        {"Time of a call, median", "p50_ms", Workloads},
        {"Time of a call, 99th percentile", "p99_ms", Workloads}
    ]}.

consume() ->
    {"consume.svg", "Consuming", [
        {values_of(Size), rate, [
            {"batches", "consume_batch_" ++ Size},
            {"C copies values out", "consume_copied_" ++ Size},
            {"one by one", "consume_one_" ++ Size}
        ]}
     || Size <- sizes()
    ]}.

latency() ->
    {"latency.svg", "End-to-end latency, from the produce call to the handler", [
        {Title, figures, [
            {"median", Workload, "p50_ms"},
            {"99 %", Workload, "p99_ms"},
            {"99.9 %", Workload, "p999_ms"},
            {"longest", Workload, "max_ms"}
        ]}
     || {Title, Workload} <- [
            {"100 messages per second", "latency_100"},
            {"10,000 messages per second", "latency_10000"},
            {"As fast as it goes", "latency_saturated"}
        ]
    ]}.

cost() ->
    Workloads = [
        {"produce 1 a call", "produce_one_100b"},
        {"produce 100 a call", "produce_many_batch_100b"},
        {"64 wait for reports", "sync_64"},
        {"consume batches", "consume_batch_100b"},
        {"consume one by one", "consume_one_100b"}
    ],
    {"cost.svg", "What it costs (100 B)", [
        {"CPU seconds for a million messages", cpu, Workloads},
        {"Largest resident memory of the process", peak_mb, Workloads}
    ]}.

life() ->
    Idle = with("idle"),
    Clients = [{Count ++ " producers", "clients_" ++ Count} || Count <- ["1", "10", "50"]],
    [
        {"start.svg", "Beginning, sharing, doing nothing", [
            {"From a client's start, to", figures, [
                {"the first report", "start", "first_report_ms"},
                {"the first message", "start", "first_message_ms"}
            ]},
            {"Rebalance, until all is assigned", figures, [
                {"a member comes", "rebalance", "join_ms"},
                {"a member goes", "rebalance", "leave_ms"}
            ]},
            {"CPU of an idle process, percent of a core", "cpu_percent", [
                {"consumer", "idle"}, {"and producer", "idle_both"}
            ]}
        ]},
        {"partitions.svg", "Partitions of a topic", [
            {"Producing, 100 B, 100 a call", rate, with("produce")},
            {"Consuming batches, 100 B", rate, with("consume")},
            {"Resident memory of an idle consumer", "rss_mb", Idle},
            {"From a consumer's start to its assignment", "ready_ms", Idle}
        ]},
        {"clients.svg", "Producers in one process, a caller each (100 B, 100 a call)", [
            {"Messages per second of all", rate, Clients},
            {"CPU seconds for a million messages", cpu, Clients},
            {"Largest resident memory of the process", peak_mb, Clients}
        ]},
        {"peers.svg", "Clients beside each other (100 B)", [
            {"Producing", rate, [{"", "peers_produce_100b"}]},
            {"Producing, CPU seconds for a million messages", cpu, [{"", "peers_produce_100b"}]},
            {"Consuming", rate, [{"", "peers_consume_100b"}]},
            {"Consuming, CPU seconds for a million messages", cpu, [{"", "peers_consume_100b"}]}
        ]}
    ].

with(What) ->
    [{Count ++ " partitions", "partitions_" ++ Count ++ "_" ++ What} || Count <- ["1", "10", "100", "1000"]].

%% Nothing, if none of it was measured.
panel({Title, Figure, Wanted}, Rows) ->
    Groups = lists:append([group(Figure, W, Rows) || W <- Wanted]),
    [
        #{title => Title, unit => unit(Figure), groups => split(Groups)}
     || Groups =/= []
    ].

unit(rate) -> "msg/s";
unit(cpu) -> "s";
unit(peak_mb) -> "MB";
unit("rss_mb") -> "MB";
unit("cpu_percent") -> "%";
unit(_) -> "ms".

group(figures, {Label, Workload, Figure}, Rows) -> group(Figure, {Label, Workload}, Rows);
group(Figure, {Label, Workload}, Rows) ->
    case crema_bench_table:find({Workload, row_of(Figure)}, Rows) of
        {ok, #{subject := Subject, others := Others} = Row} ->
            [{Label, [{name(C), value(Figure, C, Row)} || C <- [Subject | Others]]}];
        none ->
            []
    end.

row_of(Figure) when is_atom(Figure) -> "rate";
row_of(Figure) -> Figure.

value(cpu, Client, #{cpu := Cpu}) -> alike(maps:get(Client, Cpu));
value(peak_mb, Client, #{peak_mb := Peak}) -> alike(maps:get(Client, Peak));
value(_, Client, #{values := Values}) -> maps:get(Client, Values).

%% Of costs only the median is kept.
alike(Value) -> {Value, Value, Value}.

name(Client) -> element(1, look(Client)).

%% How a client is called, and its colour.
look("crema") -> {"crema", 0};
look("crema-one") -> {"crema, 1 a call", 6};
look("c") -> {"C", 1};
look("c-batch") -> {"C, batches", 2};
look("alone") -> {"crema with one process", 1};
look("franz-go") -> {"franz-go", 3};
look("java") -> {"Java", 4};
look("python") -> {"Python", 5}.

%% Of many clients each is a label of its own.
split([{"", Bars}]) -> [{Name, [Bar]} || {Name, _} = Bar <- Bars];
split(Groups) -> Groups.

%% In the order of the clients in the table.
series(Panels) ->
    Names = [Name || #{groups := Groups} <- Panels, {_, Bars} <- Groups, {Name, _} <- Bars],
    [Look || {Name, _} = Look <- [look(C) || C <- crema_bench_table:clients()], lists:member(Name, Names)].
