%% @private What a handler, or another function of the user's, raised: as text for
%% the log. As Elixir writes it where Elixir is loaded, else as Erlang does.
%%
%% Reasons may hold anything of a message or a state, which is no business of a
%% log. Shown are atoms, numbers and the shape of all else, and the message of an
%% Elixir exception, which its author has written to be shown.
-module(crema_crash).

-export([format/3, returns/3, show/1]).

-type language() :: elixir | erlang.

%% How deep a stack is, is the VM's: 8, unless it is told otherwise.
-define(MOST_CHARACTERS, 4000).
%% Of a term.
-define(MOST_ELEMENTS, 12).
-define(DEEPEST, 6).

%% What exceptions of Elixir itself (`KeyError', `MatchError', ...) hold of data.
-define(DATA, [term, value, original]).

%% @doc An exception with its stack, on several lines.
-spec format(error | exit | throw, Reason :: term(), Stack :: list()) -> binary().
format(Class, Reason, Stack) ->
    Frames = frames(crema_events:without_arguments(Stack)),
    case returned(Reason, Frames) of
        <<>> -> cut(utf8(raised(language(), Class, conceal(Reason), Frames)));
        Text -> Text
    end.

-spec raised(language(), error | exit | throw, term(), list()) -> unicode:chardata().
raised(erlang, Class, Reason, Stack) ->
    erl_error:format_exception(Class, Reason, Stack);
raised(elixir, Class, Reason, Stack) ->
    try
        string:trim(elixir('Elixir.Exception', format, [Class, Reason, Stack]), trailing)
    catch
        %% What makes the message of an exception is the user's code too.
        _:_ -> raised(erlang, Class, Reason, Stack)
    end.

%% Where Elixir runs its application's module is there. To look for others in the
%% code path takes milliseconds where they are not.
-spec language() -> language().
language() ->
    case
        erlang:function_exported(elixir, start, 2) andalso code:ensure_loaded('Elixir.Exception')
    of
        {module, _} -> elixir;
        _ -> erlang
    end.

%% The module is a value, so that nobody asks for a dependency on Elixir.
-spec elixir(module(), atom(), list()) -> term().
elixir(Module, Function, Args) ->
    apply(Module, Function, Args).

%% Those below are crema's and OTP's, and the same each time.
-spec frames(list()) -> list().
frames(Stack) ->
    IsOurs = fun(Frame) -> element(1, Frame) =:= crema_handler end,
    Below = lists:dropwhile(fun(Frame) -> not IsOurs(Frame) end, lists:reverse(Stack)),
    case lists:dropwhile(IsOurs, Below) of
        [] -> Stack;
        Handlers -> lists:reverse(Handlers)
    end.

%% Exceptions may have been made of bytes that are no UTF-8.
-spec utf8(unicode:chardata()) -> binary().
utf8(Text) ->
    case unicode:characters_to_binary(Text) of
        Good when is_binary(Good) -> Good;
        _ -> unicode:characters_to_binary(Text, latin1)
    end.

-spec cut(binary()) -> binary().
cut(Text) ->
    case string:slice(Text, 0, ?MOST_CHARACTERS) of
        Text -> Text;
        Start -> <<Start/binary, "...">>
    end.

%% ---- what is shown of a term ---------------------------------------------------------

-spec conceal(term()) -> term().
conceal(Term) ->
    crema_secret:redact(concealed(Term, ?DEEPEST)).

%% Of the same type, so that what is said of types stays true.
-spec concealed(term(), non_neg_integer()) -> term().
concealed(Empty, _) when Empty =:= <<>>; Empty =:= []; Empty =:= {} ->
    Empty;
concealed(Bits, _) when is_bitstring(Bits) ->
    <<"...">>;
concealed(Compound, 0) when is_list(Compound); is_tuple(Compound); is_map(Compound) ->
    '...';
concealed(List, Deep) when is_list(List) ->
    case crema_input:is_proper(List) of
        true -> concealed_list(List, Deep);
        false -> '...'
    end;
concealed(#{'__exception__' := true} = Exception, Deep) ->
    Data = maps:map(fun(_, Value) -> concealed(Value, Deep - 1) end, maps:with(?DATA, Exception)),
    maps:merge(Exception, Data);
concealed(Tuple, Deep) when is_tuple(Tuple) ->
    list_to_tuple(elements(tuple_to_list(Tuple), Deep));
concealed(Map, Deep) when is_map(Map) ->
    Pairs = first(maps:next(maps:iterator(Map)), ?MOST_ELEMENTS),
    maps:from_list([{concealed(Key, Deep - 1), concealed(Value, Deep - 1)} || {Key, Value} <- Pairs]);
concealed(Term, _) ->
    Term.

-spec concealed_list([term(), ...], pos_integer()) -> [term(), ...].
concealed_list(List, Deep) ->
    case lists:all(fun is_integer/1, List) of
        true -> "...";
        false -> elements(List, Deep)
    end.

-spec elements([term()], pos_integer()) -> [term()].
elements(List, Deep) ->
    Shown = [concealed(Element, Deep - 1) || Element <- lists:sublist(List, ?MOST_ELEMENTS)],
    Shown ++ ['...' || length(List) > ?MOST_ELEMENTS].

-spec first({term(), term(), maps:iterator()} | none, non_neg_integer()) -> [{term(), term()}].
first({Key, Value, Rest}, Count) when Count > 0 -> [{Key, Value} | first(maps:next(Rest), Count - 1)];
first(_, _) -> [].

%% ---- returns that are none -------------------------------------------------------------

%% What was returned that may not be, and what may be; empty for any other reason.
%% That it was crema that found it is seen by the stack.
-spec returned(Reason :: term(), Stack :: list()) -> binary().
returned({bad_return, {Module, Function, Returned}}, [{Module, Function, Arity, []}]) when
    Arity =:= 1; Arity =:= 2
->
    Language = language(),
    May = lists:join(", ", returns(Function, Arity, Language)),
    Whose = whose({Module, Function, Arity}, Language),
    utf8([Whose, " returned ", show(Returned, Language), ", but may return: ", May]);
returned({bad_return, Returned, Why}, []) when is_atom(Returned) ->
    %% A process may be killed with any reason.
    case io_lib:char_list(Why) of
        true -> utf8(["the handler returned ", show(Returned, language()), ", which ", Why]);
        false -> <<>>
    end;
returned(_Reason, _Stack) ->
    <<>>.

-spec whose(mfa(), language()) -> unicode:chardata().
whose({Module, Function, Arity}, elixir) ->
    elixir('Elixir.Exception', format_mfa, [Module, Function, Arity]);
whose({Module, Function, Arity}, erlang) ->
    io_lib:format("~0tp:~0tp/~b", [Module, Function, Arity]).

%% @doc What is shown of a term, as the language that runs writes it.
-spec show(term()) -> binary().
show(Term) -> utf8(show(Term, language())).

-spec show(term(), language()) -> unicode:chardata().
show(Term, elixir) -> elixir('Elixir.Kernel', inspect, [conceal(Term)]);
show(Term, erlang) -> io_lib:format("~0tp", [conceal(Term)]).

%% @doc What a callback may return, as the programs of a language write it.
-spec returns(Callback :: atom(), arity(), language()) -> [unicode:chardata()].
returns(Callback, Arity, Language) ->
    [written(Return, Language) || Return <- crema_handler:returns(Callback, Arity)].

%% Atoms that begin with a capital stand for variables.
-spec written(term(), language()) -> unicode:chardata().
written(Atom, Language) when is_atom(Atom) ->
    name(atom_to_list(Atom), Language);
written(Tuple, Language) when is_tuple(Tuple) ->
    Elements = [written(Element, Language) || Element <- tuple_to_list(Tuple)],
    ["{", lists:join(", ", Elements), "}"];
written(#{start := Where}, erlang) ->
    ["#{start => ", written(Where, erlang), "}"];
written(#{start := Where}, elixir) ->
    ["start: ", written(Where, elixir)].

-spec name(string(), language()) -> string().
name(Name, erlang) -> Name;
name([First | _] = Name, elixir) when First >= $A, First =< $Z ->
    string:lowercase(re:replace(Name, "(?<=[a-z])(?=[A-Z])", "_", [global, {return, list}]));
name(Name, elixir) -> [$: | Name].
