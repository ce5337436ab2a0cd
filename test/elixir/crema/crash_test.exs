defmodule Crema.CrashTest do
  # What the log shows of a handler that crashes is what Elixir shows of an exception.
  use ExUnit.Case, async: true

  defmodule Handler do
    # The message says what is to be raised or returned.
    use Crema.Consumer

    @impl true
    def handle_message(raise, _state), do: raise.()

    def anything(raise), do: raise.()
  end

  defp crash(raise, handler \\ {Handler, nil}) do
    handler = :crema_handler.new(handler)
    {:crash, class, reason, stack} = :crema_handler.call(handler, raise, nil)
    :crema_crash.format(class, reason, stack)
  end

  test "an exception has its name, its message and the handler's part of the stack" do
    assert [banner, place | places] = String.split(crash(fn -> raise "boom" end), "\n")
    assert banner == "** (RuntimeError) boom"

    assert place =~
             ~r{^    test/elixir/crema/crash_test.exs:\d+: anonymous fn/0 in Crema.CrashTest}

    refute Enum.any?(places, &(&1 =~ "crema_handler" or &1 =~ "gen_server"))

    assert crash(fn -> exit(:bye) end) =~ "** (exit) :bye\n"
    assert crash(fn -> throw(:up) end) =~ "** (throw) :up\n"
    assert crash(fn -> apply(Crema.Nothing, :here, []) end) =~ "function Crema.Nothing.here/0 is"
  end

  test "what may be of a message or a state is not shown" do
    secret = Base.encode64("hunter2")
    # Of a type that the compiler cannot know: it would warn of what is wrong here.
    given = &Function.identity/1

    for {raise, shown} <- [
          {fn -> :ok = given.({:error, secret}) end,
           "(MatchError) no match of right hand side value"},
          {fn -> case(given.(%{a: secret}), do: (1 -> 1)) end, ~s(clause matching: %{a: "..."})},
          {fn -> Keyword.fetch!([a: secret], :b) end, ~s(key :b not found in: [a: "..."])},
          {fn -> String.to_integer(secret) end, "(ArgumentError)"},
          {fn -> Enum.count(secret) end,
           ~r/Enumerable not implemented for ("..." of )?type BitString/},
          {fn -> String.upcase({secret}) end,
           "(FunctionClauseError) no function clause matching"},
          {fn -> exit({:noproc, {GenServer, :call, [:db, {:save, secret}, 5_000]}}) end,
           ~s(GenServer.call(:db, {:save, "..."}, 5000\))},
          {fn -> :erlang.error({:odd, 5, secret}) end, ~s(Erlang error: {:odd, 5, "..."})}
        ] do
      text = crash(raise)
      assert text =~ shown
      refute text =~ secret
    end
  end

  test "an exception whose message cannot be made is shown nonetheless" do
    assert crash(fn -> :erlang.error(%{__struct__: Nothing, __exception__: true}) end) =~
             "Nothing"

    assert crash(fn -> raise <<255, 254>> end) =~ "RuntimeError"
  end

  test "who returns what cannot be is told what can be" do
    told = crash(fn -> {:done, "a"} end)

    assert told =~
             ~s(CrashTest.Handler.handle_message/2 returned {:done, "..."}, but may return: )

    assert told =~ ": :ok, {:ack, state}, {:ack, up_to, state}, "

    assert crash(fn -> :done end, &Handler.anything/1) =~
             "Handler.anything/1 returned :done, but may return: :ok, :ack, {:ack, up_to}, "
  end
end
