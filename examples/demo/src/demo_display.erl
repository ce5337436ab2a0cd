%% Shows how the demo goes: on a terminal one line that is drawn again and again, else a line per
%% second; and above it a line for each event, whether of the story, of crema or of the logger.
-module(demo_display).
-behaviour(gen_server).

-export([start_link/1, event/2, number/1]).
%% Called by crema_events and by logger.
-export([crema_event/4, log/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(EVENTS, [
    [crema, consumer, assigned],
    [crema, consumer, revoked],
    [crema, consumer, lost]
]).
-define(LOG_CHARS, 200).

-record(state, {
    lines :: non_neg_integer(),
    display :: plain | pos_integer(),
    started = now_ms() :: integer(),
    %% How many lines were handled when: the last second, the newest first.
    samples = [] :: [{integer(), non_neg_integer()}]
}).

-spec start_link(demo_sup:config()) -> {ok, pid()} | {error, term()}.
start_link(Config) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, Config, []).

-spec event(io:format(), [term()]) -> ok.
event(Format, Args) ->
    gen_server:cast(?MODULE, {event, io_lib:format(Format, Args)}).

%% 1234567 as people read it: 1,234,567.
-spec number(integer()) -> iolist().
number(N) when N < 0 -> [$- | number(-N)];
number(N) when N < 1000 -> integer_to_list(N);
number(N) -> [number(N div 1000), io_lib:format(",~3..0b", [N rem 1000])].

-spec crema_event([atom()], map(), map(), none) -> ok.
crema_event([crema, consumer, assigned], _, #{name := Name, partitions := Partitions}, none) ->
    event("~0tp gets ~ts", [Name, partitions(Partitions)]);
crema_event([crema, consumer, revoked], _, #{name := Name, partitions := Partitions}, none) ->
    event("~0tp gives up ~ts", [Name, partitions(Partitions)]);
crema_event([crema, consumer, lost], _, #{name := Name, partitions := Partitions}, none) ->
    event("~0tp lost ~ts", [Name, partitions(Partitions)]).

partitions([]) ->
    "no partition";
partitions(Partitions) ->
    Numbers = lists:sort([Number || {_Topic, Number} <- Partitions]),
    ["partitions ", lists:join(", ", [integer_to_list(Number) || Number <- Numbers])].

%% Warnings and errors, a line each.
-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(#{level := Level} = LogEvent, _Config) ->
    Template = #{template => [msg], single_line => true, chars_limit => ?LOG_CHARS},
    Text = [atom_to_list(Level), ": ", logger_formatter:format(LogEvent, Template)],
    case whereis(?MODULE) of
        undefined -> io:put_chars(standard_error, [Text, $\n]);
        _Pid -> event("~ts", [Text])
    end.

-spec init(demo_sup:config()) -> {ok, #state{}}.
init(#{display := Display, text := #{lines := Lines}}) ->
    process_flag(trap_exit, true),
    ok = crema_events:attach(?MODULE, ?EVENTS, fun ?MODULE:crema_event/4, none),
    {ok, tick(#state{lines = Lines, display = Display})}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, ok, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, ok, State}.

-spec handle_cast({event, iodata()}, #state{}) -> {noreply, #state{}}.
handle_cast({event, Text}, #state{display = Display} = State) ->
    Clear =
        case Display of
            plain -> "";
            _Columns -> "\r\e[2K"
        end,
    io:format("~ts~ts  ~ts~n", [Clear, elapsed(State), Text]),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(tick, State) ->
    {noreply, tick(draw(State))}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{display = Display} = State) ->
    _ = crema_events:detach(?MODULE),
    _ = draw(State),
    Display =:= plain orelse io:nl(),
    ok.

%% A terminal shows ten pictures a second, any other output a line a second.
tick(State) ->
    _ = erlang:send_after(1000 div pictures(State), self(), tick),
    State.

pictures(#state{display = plain}) -> 1;
pictures(_State) -> 10.

draw(#state{display = Display, samples = Samples} = State) ->
    #{handled := Handled} = Totals = demo_counter:totals(),
    Sample = {now_ms(), Handled},
    Text = status(Totals, rate(Sample, Samples), State),
    case Display of
        plain -> io:format("~ts~n", [Text]);
        Columns -> io:format("\r\e[2K~ts", [string:slice(Text, 0, Columns - 1)])
    end,
    State#state{samples = lists:sublist([Sample | Samples], pictures(State))}.

rate({_Now, _Handled}, []) ->
    0;
rate({Now, Handled}, Samples) ->
    {Before, HandledBefore} = lists:last(Samples),
    (Handled - HandledBefore) * 1000 div max(Now - Before, 1).

status(Totals, Rate, #state{lines = Lines} = State) ->
    #{produced := Produced, handled := Handled, acknowledged := Acknowledged} = Totals,
    io_lib:format(status_format(State), [
        elapsed(State),
        Acknowledged * 100 div max(Lines, 1),
        number(Produced),
        number(Handled),
        number(Acknowledged),
        number(Produced - Acknowledged),
        number(Rate)
    ]).

%% The narrow one fits into 80 columns.
status_format(#state{display = Columns}) when is_integer(Columns), Columns < 100 ->
    "~ts ~3b% produced ~s handled ~s acked ~s lag ~s ~s/s";
status_format(_State) ->
    "~ts  ~3b%  produced ~s  handled ~s  acknowledged ~s  lag ~s  ~s lines/s".

elapsed(#state{started = Started}) ->
    io_lib:format("~5.1f s", [(now_ms() - Started) / 1000]).

now_ms() ->
    erlang:monotonic_time(millisecond).
