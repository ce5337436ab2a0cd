defmodule Crema.ErrorTest do
  use ExUnit.Case, async: true

  doctest Crema.Error

  test "an error without a sentence is named by its code" do
    error = Crema.Error.exception({:queue_full, %{retriable: true}})
    assert Exception.message(error) == "queue_full"
    assert error.details == %{retriable: true}
  end

  test "raise/2 takes the reason of an error as it is" do
    assert_raise Crema.Error, "timeout: Waited too long", fn ->
      raise Crema.Error, {:timeout, %{message: "Waited too long"}}
    end
  end
end
