defmodule Crema.BangTest do
  use ExUnit.Case, async: true

  defmodule Sample do
    use Crema.Bang, except: [left: 0]

    @type error :: Crema.error()

    @spec one(term) :: {:ok, term} | error
    def one(value), do: {:ok, value}

    @spec several(term, [term]) :: {:ok, term, [term]} | :ok | Crema.error()
    def several(value, more \\ [1, 2])
    def several(nil, _more), do: :ok
    def several(value, more), do: {:ok, value, more}

    @spec fails(code) :: :ok | error when code: atom
    def fails(code), do: {:error, {code, %{message: "It fails"}}}

    @spec left :: :ok | error
    def left, do: :ok

    @spec safe :: :ok
    def safe, do: :ok
  end

  test "a function that can fail has one that raises, with the same defaults" do
    assert Sample.one!(1) == 1
    assert Sample.several!(1) == {1, [1, 2]}
    assert Sample.several!(1, []) == {1, []}
    assert Sample.several!(nil) == :ok
    error = assert_raise Crema.Error, "timeout: It fails", fn -> Sample.fails!(:timeout) end
    assert error.code == :timeout
    refute function_exported?(Sample, :left!, 0)
    refute function_exported?(Sample, :safe!, 0)
  end

  test "functions of other modules are Crema's, too" do
    assert_raise Crema.Error, ~r/^not_found: /, fn -> Crema.pause!(Crema.Nobody, :all) end

    assert_raise Crema.Error, ~r/^not_found: /, fn ->
      Crema.produce!(Crema.Nobody, %{topic: "a"})
    end

    assert %{text: _} = Crema.explain_config!({:producer, bootstrap_servers: "a:1"})
    assert_raise Crema.Error, ~r/^bad_options: /, fn -> Crema.Reader.open!(topic: 5) end
  end
end
